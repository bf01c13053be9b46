"""Running requests: how many there are, and how the server's end reaches them.

Three states, one way: open, then draining (new requests are refused, running ones go on), then cut (whatever a running
request waits for is cancelled and `Draining` raised in its place, so that its client still gets an error line).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Generator
from contextlib import contextmanager
from typing import TypeVar

from ..errors import Draining

__all__ = ["Drain"]

T = TypeVar("T")


class Drain:
    def __init__(self) -> None:
        self.draining = False
        """New requests are refused."""
        self.over = False
        """No request may wait any longer."""
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._waits: set[asyncio.Timeout] = set()

    @property
    def running(self) -> int:
        """Requests accepted and not yet ended."""
        return self._running

    @contextmanager
    def request(self) -> Generator[None]:
        """Counts one request as running."""
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def begin(self) -> None:
        self.draining = True

    def cut(self) -> None:
        """End every wait that goes through `wait_for`, now and later."""
        self.draining = self.over = True
        now = asyncio.get_running_loop().time()
        waits, self._waits = self._waits, set()
        for wait in waits:
            wait.reschedule(now)

    async def idle(self, seconds: float) -> bool:
        """Wait until nothing runs; False when `seconds` were not enough."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for(self, work: Awaitable[T]) -> T:
        """The result of `work`. Raises `Draining`, `work` being cancelled, when the server's end comes first.

        Only a wait is interrupted, never the sending of what was already there: a cancellation that strikes between
        two lines of a stream would cost the client its error line.
        """
        wait = asyncio.timeout(0 if self.over else None)
        try:
            async with wait:
                self._waits.add(wait)
                try:
                    return await work
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if wait.expired():
                raise Draining from None
            raise

    async def next_of(self, items: AsyncIterator[T]) -> T:
        """The next one, as `wait_for`. Raises `Draining` also where it is there already: a stream that is always ready
        never waits. Raises `StopAsyncIteration` at the end."""
        if self.over:
            raise Draining
        return await self.wait_for(anext(items))
