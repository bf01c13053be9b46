"""A clock that goes only when it is told to."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class FakeAlarm:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class FakeClock:
    """`remuda.residency.Clock`. `advance` makes the calls that become due, each at its own moment."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._alarms: list[tuple[float, int, FakeAlarm]] = []
        self._count = itertools.count()

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, call: Callable[[], None]) -> FakeAlarm:
        alarm = FakeAlarm(call)
        heapq.heappush(self._alarms, (when, next(self._count), alarm))
        return alarm

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._alarms and self._alarms[0][0] <= end:
            when, _, alarm = heapq.heappop(self._alarms)
            self._now = max(self._now, when)
            if alarm.call is not None:
                alarm.call()
        self._now = end
