"""How many compute threads an embedder uses: as many as are fast at this moment.

Compute threads wait for each other many times in a micro-batch. Two cores of their own do a third more than one, or
twice as much; but where a third party wants one of them, each wait may last until it gives way. Measured with
all-MiniLM-L6-v2 on two cores beside three busy processes: 8 ms for a text with one thread, 47 ms with two. The server
and its clients are such third parties. So both are tried, the slower one seldom.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["Pace"]

_FIRST: Final = 4
_SELDOM: Final = 16
_RARELY: Final = 512
"""Micro-batches between two trials: the more, the slower the last trial was."""
_BETTER: Final = 0.8
"""Less of a gain is not taken for one: micro-batches differ."""
_START: Final = 10
"""A micro-batch takes as long as if it had so many tokens more: a few tokens are not to be taken for slow ones."""


class Pace:
    """Ask `threads` before each micro-batch, and `note` what it took."""

    def __init__(self, choices: Iterable[int]) -> None:
        """`choices`: what there is to choose from, the usual one first."""
        self._usual, *self._others = dict.fromkeys(choices)
        self._costs: dict[int, float] = {}
        """Nanoseconds for a token, as far as known."""
        self._until = _FIRST

    def threads(self) -> int:
        return self._usual if self._until > 0 or not self._others else self._others[0]

    def note(self, threads: int, tokens: int, nanoseconds: int) -> None:
        cost = max(nanoseconds, 1) / (tokens + _START)
        if threads == self._usual:
            self._costs[threads] = (self._costs.get(threads, cost) + cost) / 2
            self._until -= 1
            return
        usual = self._costs[self._usual]
        self._until = round(min(max(_SELDOM, _SELDOM * cost / usual), _RARELY))
        self._others.remove(threads)
        if cost < _BETTER * usual:
            threads, self._usual = self._usual, threads
            self._costs[self._usual] = cost
        self._others.append(threads)
