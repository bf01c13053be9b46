"""Time as residency sees it: monotonic seconds, and a call at a later moment. Tests put their own in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["Alarm", "Clock", "LoopClock"]


class Alarm(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since some moment; never less than before."""
        ...

    def call_at(self, when: float, call: Callable[[], None]) -> Alarm:
        """Call once, on the event loop, when `now()` is `when` or later."""
        ...


class LoopClock:
    """The running event loop's own."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, call: Callable[[], None]) -> Alarm:
        return asyncio.get_running_loop().call_at(when, call)
