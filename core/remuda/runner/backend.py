"""The bridge between the two promises: a `Backend` whose models are `Engine`s in processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar

from ..backend import Backend, LoadWish
from ..engine import LoadSpec
from ..model.entry import ModelEntry
from .frames import Load
from .model import RunnerModel

__all__ = ["EngineBackend", "on_load_progress"]

on_load_progress: ContextVar[Callable[[float], None] | None] = ContextVar("on_load_progress", default=None)
"""Whoever calls `EngineBackend.load` may set this round the call: it is told how much is done, 0 to 1, from the event
loop and at most ten times a second, and must not raise. `Backend.load` has no place for it: only engines tell."""


class EngineBackend(Backend):
    """Subclass it and name the engine; that is all a local backend needs."""

    engine: ClassVar[str]
    """`"package.module:EngineClass"`, imported in the runner only."""
    hint: ClassVar[str] = ""
    """How to install what the engine imports, for the message when that is missing."""
    environment: ClassVar[dict[str, str]] = {}
    """Variables for the runner's process, where the server's own environment does not set them."""

    stall_timeout: float = 60.0
    """Seconds that a loaded model with work to do may give no sign of life before its process is ended.

    This and the next may be set on the instance at any time, and count for models that are loaded too; infinity is no
    bound."""
    load_timeout: float = 300.0
    """Seconds that a load may go on without getting further."""
    runner_memory: int = 0
    """Bytes of address space that the process of a model loaded from now on may have; 0 is no bound."""
    runner_nice: int | None = None
    """Niceness of such a process above this one's own; None is -10 where the system allows that and this process has
    been given none itself, else 0."""
    module_folder: str = ""
    """Where such a process looks for modules after everywhere else, so that an engine may be in a plugin that is a
    single file; empty is nowhere."""

    async def load(self, model: ModelEntry, wish: LoadWish) -> RunnerModel:
        spec = LoadSpec(
            name=str(model.name),
            weights=str(model.weights),
            context=wish.context,
            parallel=wish.parallel,
            options=wish.options,
            projector=str(model.projector) if model.projector else None,
            adapters=[str(adapter) for adapter in model.adapters],
            draft=str(model.draft) if model.draft else None,
            settings=self.settings_for(model),
        )
        return await RunnerModel.start(
            Load(
                self.engine,
                spec,
                self.hint,
                memory=self.runner_memory,
                nice=self.runner_nice,
                folder=self.module_folder,
            ),
            self.environment,
            stall_timeout=lambda: self.stall_timeout,
            load_timeout=lambda: self.load_timeout,
            on_progress=on_load_progress.get(),
        )

    def settings_for(self, model: ModelEntry) -> dict[str, Any]:
        """`LoadSpec.settings` for a model: the backend's own, and whatever its engine must know of this model."""
        return self.settings
