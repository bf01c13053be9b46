"""All residents: which models are in memory. The one door through which models are loaded and unloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..backend import LoadedModel, LoadWish
from ..config import Config
from ..model import ModelEntry
from .resident import Resident

__all__ = ["Herd"]

Loader = Callable[[ModelEntry, str, LoadWish], Awaitable[LoadedModel]]
"""`(entry, backend name, wish) -> loaded model`."""


class Herd:
    def __init__(self, load: Loader, config: Config) -> None:
        self._load, self._config = load, config
        self._residents: dict[tuple[str, str], Resident] = {}

    def resident(self, entry: ModelEntry, backend: str) -> Resident:
        """The seat of a model. Two names for the same weights, projector and adapters share one."""
        files = (entry.weights, entry.projector or "", *entry.adapters)
        key = (backend, "\n".join(map(str, files)))
        if key not in self._residents:
            limits = self._config.limits
            self._residents[key] = Resident(
                entry,
                lambda wish: self._load(entry, backend, wish),
                keep_alive=self._config.keep_alive,
                parallel=limits.parallel,
                queue=limits.queue,
            )
        return self._residents[key]

    def loaded(self) -> list[Resident]:
        """Those with a living model, longest remaining first."""
        present = [resident for resident in self._residents.values() if resident.model is not None]
        return sorted(present, key=lambda resident: resident.expires_at, reverse=True)

    async def close(self) -> None:
        """Unload all, at once."""
        await asyncio.gather(*(resident.close() for resident in self._residents.values()), return_exceptions=True)
