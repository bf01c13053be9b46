"""One model in memory: loaded once for all who ask, kept while it is used, left when its time is up.

A model changes by transitions, a load or an unload, and there is at most one at a time; whoever needs another state
waits for the transition in progress and looks again. So there is never more than one process behind a model, N
waiters cause one load, and a new load waits for the old process to be gone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from ..backend import LoadedModel, LoadWish
from ..errors import Draining, ServerBusy
from ..model import ModelEntry
from .rules import FOREVER, expiry, must_grow, next_keep_alive, queue_is_full

__all__ = ["Load", "Resident"]

Load = Callable[[LoadWish], Awaitable[LoadedModel]]

_log = logging.getLogger("remuda.residency")


class Resident:
    """The seat of one model, taken or not. `load` does the work; everything else is bookkeeping."""

    def __init__(self, entry: ModelEntry, load: Load, *, keep_alive: float, parallel: int, queue: int) -> None:
        self.entry = entry
        self._load, self._default_keep_alive = load, keep_alive
        self._parallel, self._queue = parallel, queue
        self._model: LoadedModel | None = None
        self._context = 0
        self._transition: asyncio.Task[None] | None = None
        self._wishes: list[LoadWish] = []
        self._users = 0
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._keep_alive: float | None = None
        self._expires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def model(self) -> LoadedModel | None:
        """The loaded model, if there is one that lives."""
        return self._model if self._model is not None and self._model.alive else None

    @property
    def expires_at(self) -> float:
        """POSIX time when it will leave; for a model in use, when it would leave if it became idle now."""
        now = time.time()
        at = expiry(now, self._effective_keep_alive()) if self._users else self._expires_at
        return min(at, now + FOREVER)

    @asynccontextmanager
    async def use(self, wish: LoadWish, keep_alive: float | None) -> AsyncGenerator[LoadedModel, None]:
        """The model, loaded as wished or more generously, which stays at least until the block ends.

        Raises `ServerBusy` when the queue is full, and whatever the load raises.
        """
        if self._closed:
            raise Draining
        if queue_is_full(self._users, self._parallel, self._queue):
            raise ServerBusy
        self._users += 1
        self._stop_timer()
        try:
            model = await self._ready(wish)
            self._active += 1
            self._idle.clear()
            self._keep_alive = next_keep_alive(self._keep_alive, keep_alive, self._default_keep_alive)
            try:
                yield model
            finally:
                self._active -= 1
                if self._active == 0:
                    self._idle.set()
        finally:
            self._users -= 1
            if self._users == 0:
                self._start_timer()

    async def leave(self) -> None:
        """Unload now if idle, and return when it is gone; else let it leave as soon as it becomes idle."""
        self._keep_alive = 0.0
        if self._users == 0:
            self._start_timer()
            if self._transition is not None:
                await asyncio.shield(self._transition)

    async def close(self) -> None:
        """Unload whatever goes on; requests inside fail."""
        self._closed = True
        self._stop_timer()
        if self._transition is not None:
            self._transition.cancel()
            await asyncio.wait([self._transition])
        await self._unload()

    async def _ready(self, wish: LoadWish) -> LoadedModel:
        self._wishes.append(wish)
        try:
            while True:
                model = self._model
                if self._transition is not None:
                    await asyncio.shield(self._transition)
                elif self._closed:
                    raise Draining
                elif model is None:
                    self._begin(self._load_largest())
                elif not model.alive:
                    self._begin(self._unload())
                elif not must_grow(self._context, (other.context for other in self._wishes)):
                    return model
                elif self._active == 0:
                    self._begin(self._unload())
                else:
                    await self._idle.wait()
        finally:
            self._wishes.remove(wish)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a transition. It outlives the request that began it, and its failure is told to all who wait."""

        async def transition() -> None:
            try:
                await work
            finally:
                self._transition = None
                if self._users == 0:
                    self._start_timer()

        self._transition = asyncio.ensure_future(transition())
        self._transition.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _load_largest(self) -> None:
        wish = max(self._wishes, key=lambda wish: wish.context)
        began = time.monotonic()
        self._model = await self._load(wish)
        # An engine may give less than wished, when the model was trained for less: asking again would be in vain.
        self._context = max(wish.context, self._model.context)
        _log.info("%s loaded in %.2f s, context %d", self.entry.name, time.monotonic() - began, self._context)

    async def _unload(self) -> None:
        model, self._model, self._keep_alive = self._model, None, None
        if model is not None:
            try:
                await model.close()
            except asyncio.CancelledError:
                self._model = model  # `close` has cut this short, and ends the model itself
                raise
            _log.info("%s unloaded", self.entry.name)

    def _effective_keep_alive(self) -> float:
        return next_keep_alive(self._keep_alive, None, self._default_keep_alive)

    def _start_timer(self) -> None:
        self._stop_timer()
        keep_alive = self._effective_keep_alive()
        self._expires_at = expiry(time.time(), keep_alive)
        if keep_alive <= 0:
            self._expire()
        elif self._model is not None and not math.isinf(keep_alive):
            self._timer = asyncio.get_running_loop().call_later(keep_alive, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        if self._users == 0 and self._transition is None and self._model is not None and not self._closed:
            self._begin(self._unload())
