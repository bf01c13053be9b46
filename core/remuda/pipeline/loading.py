"""What residency does to the world: weigh a load, do it, and ask how long a model is to stay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread

from ..backend import Backend, Estimate, LoadedModel, LoadWish, Measures
from ..config import Config
from ..errors import EngineError, LoadFailed
from ..hookspecs import Usage
from ..model import Catalog, ModelEntry
from ..plugins import Plugins, stray
from ..residency import Effects, Limits, Room, Use
from ..residency.memory import available_memory, fallback_estimate
from ..runner import EngineBackend, on_load_progress
from ..wire import parse_keep_alive

__all__ = ["Loading", "limits_of"]

_log = logging.getLogger("remuda.pipeline")
_PATIENCE: Final = 20.0
"""Seconds that a backend may take to say what it needs: other models wait for their turn to be weighed."""


def limits_of(config: Config) -> Limits:
    """What the configuration says that residency decides by."""
    return Limits(
        max_loaded=config.residency.max_loaded,
        queue=config.limits.queue,
        queue_timeout=config.limits.queue_timeout,
        quarantine=config.residency.quarantine,
    )


class Loading(Effects):
    def __init__(self, config: Config, plugins: Plugins, catalog: Catalog) -> None:
        self.config = config
        """May be replaced: it acts on the loads that come, and on the supervision of what is loaded."""
        self._plugins, self._catalog = plugins, catalog
        self._unknown: set[str] = set()

    async def weigh(self, entry: ModelEntry, backend: str, wish: LoadWish) -> Room:
        try:
            made = self.backend(backend)
            async with asyncio.timeout(_PATIENCE):
                need = await self._need(made, entry, wish)
                gpu = await made.gpu_memory() if isinstance(made, Measures) else None
        except Exception as error:  # whatever it is, the load will tell
            _log.warning("what %s needs could not be found out: %r", entry.name, error)
            return Room(need=None)
        free = await anyio.to_thread.run_sync(available_memory)
        return Room(need=need, memory=free - self.config.residency.memory_reserve, gpu=gpu)

    async def load(
        self, entry: ModelEntry, backend: str, wish: LoadWish, progress: Callable[[float], None]
    ) -> LoadedModel:
        made = self.backend(backend)
        held = await anyio.to_thread.run_sync(self._catalog.hold, entry)
        on_load_progress.set(progress)
        try:
            return _checked(await made.load(entry, wish), backend)
        except BaseException as error:
            if stray(error):
                raise LoadFailed(f"the backend {backend!r} raised {type(error).__name__} while loading") from error
            raise
        finally:
            if held is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(held.close)

    def keep_alive(self, entry: ModelEntry, backend: str, use: Use) -> float:
        name = str(entry.name)
        rule = self.config.residency_rule(name)
        default = parse_keep_alive(rule.keep_alive) if rule is not None else None
        if default is None:
            default = entry.keep_alive if entry.keep_alive is not None else self.config.keep_alive
        policy = (rule.policy if rule is not None else None) or self.config.residency.policy
        usage = Usage(
            model=name,
            policy=policy,
            asked=use.asked,
            default=default,
            gaps=use.gaps,
            load_seconds=use.load_seconds,
            size=use.size,
        )
        seconds = self._plugins.keep_alive(usage)
        if seconds is not None:
            return seconds
        if policy not in self._unknown:
            self._unknown.add(policy)
            _log.warning("no plugin decides for the keep_alive policy %r: it acts as 'fixed'", policy)
        return default if use.asked is None else use.asked

    def backend(self, name: str) -> Backend:
        known = self._plugins.backends.names()
        if name not in known:
            who = "a route, the model itself, or the hook remuda_select_backend of a plugin"
            raise EngineError(
                f"there is no backend {name!r}, which {who} wants; there are: {', '.join(known) or 'none'}"
            )
        made = self._plugins.backends.get(name, self.config.backends.get(name, {}))
        self._configure(made)
        return made

    def configure(self) -> None:
        """Hand a new configuration to the backends that there are."""
        for made in self._plugins.backends.made():
            self._configure(made)

    def _configure(self, backend: Backend) -> None:
        residency = self.config.residency
        if isinstance(backend, EngineBackend):
            backend.stall_timeout = residency.stall_timeout
            backend.load_timeout = self.config.load_timeout
            backend.runner_memory, backend.runner_nice = residency.runner_memory, residency.runner_nice
            backend.module_folder = str(self._plugins.folder or "")
        if isinstance(backend, Measures):
            backend.gpu_overhead = residency.gpu_overhead

    async def _need(self, made: Backend, entry: ModelEntry, wish: LoadWish) -> Estimate:
        if isinstance(made, Measures):
            return await made.estimate(entry, wish)
        return await anyio.to_thread.run_sync(fallback_estimate, entry)


def _checked(loaded: object, backend: str) -> LoadedModel:
    """A loaded model whose attributes are there, too: no class can demand those. Raises `LoadFailed`."""
    if not isinstance(loaded, LoadedModel):
        kind = type(loaded).__name__
        raise LoadFailed(f"the backend {backend!r} loaded {kind} and no remuda.LoadedModel: its `load` must return one")
    context: object = getattr(loaded, "context", None)
    if not isinstance(context, int) or context < 1:
        raise LoadFailed(f"the backend {backend!r} loaded a model whose `context` is {context!r}: set it, in tokens")
    return loaded
