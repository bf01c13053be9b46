"""How many tokens of each sequence are drafted in a step: as many as make the whole batch faster, often none.

Drafts make a decode longer, and every sequence in it waits. So what counts is the number of tokens that all sequences
together may expect of a decode, by the time that it takes. Where a row more costs as much as the first one, as with
a small model on few cores, only drafts that are nearly certain pay. Where most of the time goes into reading the
weights, even doubtful ones do, until there are enough sequences to share that.

The best choice of so many drafted tokens are the likeliest ones of all sequences. A token is never likelier than the
one before it in its draft, so no draft gets a hole.

Times are known only of batches that were decoded before, and may be out of date. So what would pay if its rows cost
nothing is tried once in a while: few rows at first, and twice as many soon after if that was a success. After a failure
the next trial is put off for twice as long as the one before. And after many steps with drafts comes one without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence as ListOf
from typing import Final, TypeAlias

__all__ = ["Cost", "Payoff"]

Cost: TypeAlias = Callable[[int], float | None]
"""Nanoseconds of a step whose decode has so many rows; None where nothing is known of about so many.

What else the step does belongs into it: a stretch of prompt that is read in any case, the work of a model that drafts.
"""

_GAIN: Final = 1.03
"""So many times as many tokens a second are worth it."""
_UNLIKELY: Final = 0.05
"""Such tokens are never drafted."""
_HOPELESS: Final = 0.7
"""Where drafts make the batch as slow as this, still longer ones are not looked at."""
_SOON: Final = 16
_RARELY: Final = 512
"""Steps between two trials, at least and at most."""
_PLAIN: Final = 64
"""Steps with drafts before one without: the time that they are compared with may be out of date as well."""


class Payoff:
    """Ask `share` before each decode of next tokens."""

    def __init__(self, rows: int) -> None:
        """`rows`: how many a decode may have."""
        self._rows = rows
        self._pause = self._until = _SOON
        """Steps from one trial to the next, and from now on."""
        self._tried = 0
        """Rows of a trial in the step before."""
        self._drafting = 0
        """Steps with drafts, one after the other."""

    def share(self, chances: ListOf[ListOf[float]], cost: Cost) -> list[int]:
        """How many tokens to draft for each sequence that is writing, from what `Drafter.offer` said of each."""
        counts = [0] * len(chances)
        likely = [(chance, index) for index, each in enumerate(chances) for chance in each if chance > _UNLIKELY]
        base = cost(len(chances)) if likely else None
        if base is None:
            return counts
        likely.sort(reverse=True)
        del likely[max(0, self._rows - len(chances)) :]
        best, promising = _weigh(likely, len(chances), base, cost)
        for _, index in likely[: self._choose(best, promising, len(chances))]:
            counts[index] += 1
        return counts

    def _choose(self, best: int, promising: int, rows: int) -> int:
        """Nearly always the `best` number of tokens."""
        self._drafting = self._drafting + 1 if best else 0
        if self._drafting > _PLAIN:
            self._drafting = 0
            return 0
        if self._tried:
            self._pause = _SOON if rows + best >= self._tried else min(2 * self._pause, _RARELY)
            self._until, self._tried = self._pause, 0
        self._until -= 1
        if self._until > 0 or not promising:
            return best
        self._tried = rows + promising
        return promising


def _weigh(likely: ListOf[tuple[float, int]], rows: int, base: float, cost: Cost) -> tuple[int, int]:
    """How many of the `likely` tokens to draft, and how many would be better still if that took no longer.

    `rows` others are in the batch, which takes `base` nanoseconds without drafts. 0 means none.
    """
    alone = speed = rows / base
    tokens, longest, fastest = float(rows), base, base
    best = unknown = doubtful = 0
    for count, (chance, _) in enumerate(likely, 1):
        tokens += chance
        spent = cost(rows + count)
        if spent is not None:
            longest = max(longest, spent)
            if tokens / spent > speed:
                best, speed, fastest = count, tokens / spent, spent
                doubtful = 0
        if count.bit_count() == 1 or count == len(likely):  # only these are tried
            if spent is None and not unknown and tokens / longest >= _GAIN * speed:
                unknown = count
            elif count > best and not doubtful and tokens / fastest >= _GAIN * speed:
                doubtful = count
        if tokens / longest < _HOPELESS * alone:
            break
    return (best if speed >= _GAIN * alone else 0), unknown or doubtful
