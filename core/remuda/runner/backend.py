"""The bridge between the two promises: a `Backend` whose models are `Engine`s in processes of their own."""

from __future__ import annotations

from typing import ClassVar

from ..backend import Backend, LoadWish
from ..engine import LoadSpec
from ..model.entry import ModelEntry
from .frames import Load
from .model import RunnerModel

__all__ = ["EngineBackend"]


class EngineBackend(Backend):
    """Subclass it and name the engine; that is all a local backend needs."""

    engine: ClassVar[str]
    """`"package.module:EngineClass"`, imported in the runner only."""
    hint: ClassVar[str] = ""
    """How to install what the engine imports, for the message when that is missing."""
    environment: ClassVar[dict[str, str]] = {}
    """Variables for the runner's process, where the server's own environment does not set them."""

    async def load(self, model: ModelEntry, wish: LoadWish) -> RunnerModel:
        spec = LoadSpec(
            name=str(model.name),
            weights=str(model.weights),
            context=wish.context,
            parallel=wish.parallel,
            options=wish.options,
            projector=str(model.projector) if model.projector else None,
            adapters=[str(adapter) for adapter in model.adapters],
            settings=self.settings,
        )
        return await RunnerModel.start(Load(self.engine, spec, self.hint), self.environment)
