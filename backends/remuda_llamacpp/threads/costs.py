"""What a step takes by its number of rows: learnt point by point, and read off between them.

Time grows more slowly than the rows do, because the weights are read once for all of them; how much more slowly depends
on the weights' type. So there is a point for each half octave of rows (1, 2, 3, 4, 5-6, 7-9, ...), learnt from its own
steps. What is between two points is on the line through both, what is beyond the last on one of a usual slope.

All in logarithms: times are compared as ratios, and a step that took twice as long weighs as much as one that took
half.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from msgspec import Struct

__all__ = ["StepCosts", "bucket"]

_SLOPE: Final = 0.8
"""Near a point, time grows with this power of the rows."""
_MEMORY: Final = 32
"""Steps that a point remembers."""


@lru_cache(maxsize=4096)
def bucket(rows: int) -> int:
    """The half octave that `rows` is in; at least 1."""
    return round(2 * math.log2(rows))


class _Point(Struct):
    at: float
    """Logarithm of the rows of its first step."""
    cost: float
    steps: int = 1

    def read(self, at: float) -> float:
        return self.cost + _SLOPE * (at - self.at)


class StepCosts:
    """Of one kind of step with one number of threads. Costs are logarithms of nanoseconds; false while empty."""

    def __init__(self) -> None:
        self._points: dict[int, _Point] = {}

    def __bool__(self) -> bool:
        return bool(self._points)

    def steps(self, rows: int) -> int:
        """How many steps of about as many rows are remembered."""
        point = self._points.get(bucket(rows))
        return 0 if point is None else point.steps

    def known(self, rows: int) -> float | None:
        """What a step costs, learnt from others of about as many rows; None if there were none."""
        point = self._points.get(bucket(rows))
        return None if point is None else point.read(math.log(rows))

    def begin(self, rows: int, cost: float) -> None:
        """Forget what steps of about as many rows cost, but for this one."""
        self._points[bucket(rows)] = _Point(math.log(rows), cost)

    def learn(self, rows: int, cost: float) -> None:
        """Steps of about as many rows must be known."""
        point = self._points[bucket(rows)]
        point.steps = min(point.steps + 1, _MEMORY)
        point.cost += (cost - point.read(math.log(rows))) / point.steps

    def read(self, rows: int) -> float:
        """What a step costs, of any number of rows. Not while empty."""
        at, key = math.log(rows), bucket(rows)
        below = max((place for place in self._points if place <= key), default=None)
        above = min((place for place in self._points if place >= key), default=None)
        if below is None or above is None or below == above:
            place = above if below is None else below
            assert place is not None, "nothing is known"
            return self._points[place].read(at)
        left, right = self._points[below], self._points[above]
        return left.cost + (right.cost - left.cost) * (at - left.at) / (right.at - left.at)

    def nearest(self, rows: int) -> int:
        """The number of rows, of those that are known, that is the most like `rows`. Not while empty."""
        at = math.log(rows)
        return round(math.exp(min((point.at for point in self._points.values()), key=lambda known: abs(known - at))))
