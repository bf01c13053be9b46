"""An attempt at one upstream, or at two at a time, and what it gives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from .faults import Fault
from .places import Place
from .upstream import Offer, Upstream

__all__ = ["Closes", "Lease", "raced", "tried"]


class Closes(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closes)


class Lease(Generic[T]):
    """A place at an upstream, and what the attempt there gave. Must be closed."""

    def __init__(self, place: Place, value: T) -> None:
        self.value = value
        self._place = place
        self._fault: Fault | None = None
        self._closed = False

    @property
    def upstream(self) -> Upstream:
        return self._place.upstream

    @property
    def offer(self) -> Offer:
        """As it was when the attempt began."""
        return self._place.offer

    def failed(self, fault: Fault) -> None:
        """The answer broke off after it had begun."""
        self._fault = self._fault or fault

    async def aclose(self) -> None:
        """Closes `value` and gives the place back; without `failed`, the upstream has done well."""
        if self._closed:
            return
        self._closed = True
        try:
            await self.value.aclose()
        finally:
            if self._fault is None:
                self._place.done()
            else:
                self._place.failed(self._fault)


async def tried(place: Place, attempt: Callable[[Upstream, str], Awaitable[T]]) -> Lease[T]:
    """One attempt; the place is given back unless a lease comes of it."""
    try:
        value = await attempt(place.upstream, place.offer.there)
    except Fault as fault:
        place.failed(fault)
        raise
    except BaseException:
        place.left()
        raise
    place.began()
    return Lease(place, value)


async def raced(
    first: Place,
    attempt: Callable[[Upstream, str], Awaitable[T]],
    after: float,
    second: Callable[[], Place | None],
    later: Callable[[Coroutine[Any, Any, None]], None],
) -> Lease[T]:
    """As `tried`; and where nothing came `after` seconds, a second attempt beside it if there is a `second` place.

    The first lease wins; whatever still runs then is cancelled, and what comes of it all the same is closed `later`.
    Raises the last fault where all fail.
    """
    running = {_begun(first, attempt): first}
    timeout: float | None = after
    last: Fault | None = None
    try:
        while running:
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                timeout = None
                if (place := second()) is not None:
                    running[_begun(place, attempt)] = place
            for task in done:
                del running[task]
                try:
                    return task.result()
                except Fault as fault:
                    last = fault
        assert last is not None
        raise last
    finally:
        for task, place in running.items():
            place.quiet = True
            task.cancel()
            later(_dropped(task))


def _begun(place: Place, attempt: Callable[[Upstream, str], Awaitable[T]]) -> asyncio.Task[Lease[T]]:
    task = asyncio.get_running_loop().create_task(tried(place, attempt))
    task.add_done_callback(partial(_over, place))
    return task


def _over(place: Place, task: asyncio.Task[Any]) -> None:
    if task.cancelled():  # perhaps before it began
        place.left()


async def _dropped(task: asyncio.Task[Lease[Any]]) -> None:
    await asyncio.wait((task,))
    if not task.cancelled() and task.exception() is None:
        with contextlib.suppress(Exception):  # nobody is left to be told
            await task.result().aclose()
