"""What a hook of a plugin, or a filter, has cost and how often it failed; and when it is left alone.

A breaker, as electricians have one: after so many faults in a row it opens, and nothing is asked of what stands behind
it. When the cooldown is over one call goes through. If that goes well the breaker closes, else it stays open for
another cooldown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

__all__ = ["Gauge", "State"]

State = Literal["working", "resting", "trying"]
"""`resting` is left alone; `trying` is that the next call, or one that is under way, decides."""


class Gauge:
    """One for each. Every call that `admits` let through owes one of `succeeded`, `failed` and `left`."""

    def __init__(self, faults: int, cooldown: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`faults` in a row open it, for `cooldown` seconds of `clock`."""
        self._most, self._cooldown, self._clock = faults, cooldown, clock
        self._row = 0
        self._until: float | None = None
        self._trying = False
        self.calls = 0
        self.faults = 0
        self.dropped = 0
        """Calls that were due and not made."""
        self.ns = 0
        """Time spent in it."""

    @property
    def state(self) -> State:
        if self._until is None:
            return "working"
        return "trying" if self._trying or self._clock() >= self._until else "resting"

    def admits(self) -> bool:
        """Whether it may be called now. The first call after the cooldown is the trial; those beside it are refused."""
        if self._until is None:
            return True
        if self._trying or self._clock() < self._until:
            self.dropped += 1
            return False
        self._trying = True
        return True

    def succeeded(self, ns: int) -> None:
        self._count(ns)
        self._row, self._until, self._trying = 0, None, False

    def failed(self, ns: int) -> bool:
        """Whether it is left alone from now on, and was not already."""
        self._count(ns)
        self.faults += 1
        self._row += 1
        if self._until is not None and not self._trying:
            return False
        if not self._trying and self._row < self._most:
            return False
        self._until, self._trying = self._clock() + self._cooldown, False
        return True

    def left(self, ns: int) -> None:
        """It ended without a verdict, as when the client left."""
        self._count(ns)
        self._trying = False

    def skipped(self) -> None:
        """It was let through and not called."""
        self.dropped += 1
        self._trying = False

    def _count(self, ns: int) -> None:
        self.calls += 1
        self.ns += ns
