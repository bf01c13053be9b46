"""Which of several upstreams with a free place gets a request: pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

__all__ = ["CLEARLY", "Choosable", "choose"]

CLEARLY: Final = 2.0
"""A cache, or a loaded model, is worth standing behind so many requests more."""


class Choosable(Protocol):
    @property
    def load(self) -> float:
        """Requests that it works on, for each unit of its weight."""
        ...

    @property
    def turn(self) -> float:
        """Grows with each request it gets, by less the more weight it has: the smallest is the next in turn."""
        ...


U = TypeVar("U", bound=Choosable)


def choose(free: Sequence[U], favoured: U | None, warm: Callable[[U], bool]) -> U:
    """The best of `free`, of which there is at least one.

    `favoured` has the beginning of the conversation in its cache, those that are `warm` the model in memory; either is
    preferred while it is not clearly busier than the rest.
    """
    if len(free) == 1:
        return free[0]
    if favoured is not None and favoured in free and favoured.load <= min(each.load for each in free) + CLEARLY:
        return favoured
    ready = [each for each in free if warm(each)]
    if 0 < len(ready) < len(free):
        rest = min(each.load for each in free if each not in ready)
        if min(each.load for each in ready) <= rest + CLEARLY:
            free = ready
    return min(free, key=lambda each: (each.load, each.turn))
