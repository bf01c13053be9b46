"""A few steps with another number of threads, to see what they cost now."""

from __future__ import annotations

import statistics
from math import exp
from typing import Final

from msgspec import Struct, field

from .arm import YOUNG, Arm

__all__ = ["Trial"]

_MS: Final = 1_000_000

_STEPS: Final = 4
"""Of a trial that goes well."""
_REGRET, _LOST = 0.25, 100 * _MS
"""Regret that ends one, in steps of the chosen arm, and time that does whatever else there is to learn."""
_SURE: Final = 0.25
"""A first step that is further than this from what was expected does not end one."""


class Trial(Struct):
    """Costs are logarithms of nanoseconds, as an arm's."""

    arm: Arm
    rows: int
    """Of the step that it began with."""
    last: int
    """When it began, or had its last step."""
    steps: int = 0
    regret: float = 0.0
    """In the end below 0 if the arm was faster than the chosen one."""
    lost: float = 0.0
    """Nanoseconds."""
    _surprises: list[float] = field(default_factory=list[float])
    """Of steps with as many rows as the arm has met often."""
    _young: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    """Rows and costs of the others: that these are a surprise says nothing about other numbers of rows."""

    def step(self, rows: int, cost: float, *, chosen: float, expected: float, now: int) -> bool:
        """A step took `cost`, where it would have been `chosen` with the chosen arm, and `expected` with this one.

        Returns whether the trial is over.
        """
        lost = exp(cost) - exp(chosen)
        self.last = now
        self.steps += 1
        self.lost += lost
        self.regret += lost / exp(chosen)
        if self.arm.costs.steps(rows) < YOUNG:
            self._young.append((rows, cost))
        else:
            self._surprises.append(cost - expected)
        if self.steps >= _STEPS:
            return True
        sure = self.steps > 1 or abs(cost - expected) < _SURE or self.lost > _LOST
        return sure and self.regret > _REGRET

    def end(self) -> float:
        """Tell the arm. Returns by how much its pace jumps."""
        arm, failed = self.arm, self.regret > 0
        if self._surprises:
            # One step may have been stretched by chance, and where several went well before others, it is over now.
            jump = statistics.median_low(self._surprises) if failed else statistics.fmean(self._surprises)
        else:
            # Faster again, as far as can be told: what made it fall has gone.
            jump = 0.0 if failed else min(0.0, arm.before - arm.pace)
        arm.pace += jump
        for rows, cost in self._young:
            arm.learn(rows, cost)
        return jump
