"""The models that a server of this process has in memory, as it knows them itself."""

from __future__ import annotations

from remuda.residency import Resident
from remuda.runner import RunnerModel
from remuda.testing import LiveServer

__all__ = ["loaded_model"]


def loaded_model(server: LiveServer, name: str) -> RunnerModel:
    """The server's side of the process of `name`, a whole name with its tag."""

    async def residents() -> list[Resident]:
        return server.pipeline.flow.herd.residents()

    for resident in server.call(residents):
        if str(resident.entry.name) == name and isinstance(resident.model, RunnerModel):
            return resident.model
    raise AssertionError(f"{name} is not loaded")
