"""What all loaded models have in common."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from remuda.backend import LoadedModel, LoadWish, ModelStats
from remuda.errors import EngineError
from remuda.model import ModelEntry

from .library import Parts

__all__ = ["Loaded"]


class Loaded(LoadedModel):
    """There is nothing to be loaded but objects; what a plugin loads itself, it loads with the first request."""

    def __init__(self, parts: Parts, entry: ModelEntry, wish: LoadWish) -> None:
        self.name = str(entry.name)
        self.context = wish.context
        self._parts: Parts | None = parts
        self._running = self._steps = 0

    @property
    def alive(self) -> bool:
        return self._parts is not None

    async def close(self) -> None:
        """Answers that are being written end with an error at their next piece."""
        self._parts = None

    async def stats(self) -> ModelStats:
        return ModelStats(running=self._running, steps=self._steps)

    def _open(self) -> Parts:
        """Raises `EngineError` when the model is unloaded."""
        if self._parts is None:
            raise EngineError(f"model '{self.name}' was unloaded")
        return self._parts

    @contextmanager
    def _counted(self) -> Generator[None, None, None]:
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
