"""How many compute threads a step uses: as many as are fast at this moment.

Compute threads wait for each other at barriers, several hundred times in a decode. Two cores of their own decode four
sequences in two thirds of the time that one takes; but where a neighbour wants one of them, each wait may last until it
gives way, and two threads take half as long again as one, or fifty times as long where they spin. The server and its
clients are such neighbours, too, for moments.

So each step is measured, and the number of threads follows: by kind of work and number of rows, away from a number that
collapses after three stretched steps, back to it when a trial says so. What is learnt, and when something is tried, is
in `arms` and `arm`. Costs nothing where there is nothing to choose, and still knows then how long a step will take.

Decodes are short and show first what the cores are like. What they find is passed on to the reading of prompts, where
one bad step is a quarter of a second: it leaves a number of threads with them, and may come back earlier, since it
suffers less.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable

from .arms import Arms
from .idle import IdleCores

__all__ = ["ThreadControl", "Work", "ladder"]


class Work(enum.Enum):
    """Kinds of work, whose costs have nothing to do with each other."""

    DECODE = "decode"
    """One or a few tokens of each of several sequences."""
    PREFILL = "prefill"
    """A stretch of prompt."""
    EMBED = "embed"
    """Whole texts."""


def ladder(cores: int) -> tuple[int, ...]:
    """Numbers of threads worth choosing from on so many cores, the most first: one less leaves a core to a neighbour,
    further ones are half of the next.
    """
    counts = {cores, max(1, cores - 1)} | {1 << power for power in range(cores.bit_length()) if 1 << power < cores}
    return tuple(sorted(counts, reverse=True))


class ThreadControl:
    """Ask `threads` before a step, and `note` what it took. For one thread at a time."""

    def __init__(
        self,
        choices: Iterable[int],
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
        idle: Callable[[int], float | None] | None = None,
    ) -> None:
        """`choices`: numbers of threads, the usual one first; with a single one nothing is ever tried. `clock` gives
        nanoseconds, and `idle` what `IdleCores` gives, which it is unless told otherwise.
        """
        choices, idle = tuple(choices), idle or IdleCores()
        decode = Arms(choices, idle)
        self._arms = {
            Work.DECODE: decode,
            Work.PREFILL: Arms(choices, idle, like=decode),
            Work.EMBED: Arms(choices, idle),
        }
        self._clock = clock
        self._rows: dict[Work, int] = {}
        """Of the last step."""

    def threads(self, work: Work, rows: int) -> int:
        """For a step of so many tokens, at least 1. The same until the step is noted."""
        return self._arms[work].threads(rows, self._clock())

    def note(self, work: Work, rows: int, threads: int, nanoseconds: int) -> None:
        """What a step took, right after it. Steps that were cut short are not to be noted."""
        now = self._clock()
        self._rows[work] = rows
        jump = self._arms[work].note(rows, threads, nanoseconds, now)
        if jump and work is Work.DECODE:
            self._arms[Work.PREFILL].hear(threads, jump, now)

    def expect(self, work: Work, rows: int) -> float | None:
        """The nanoseconds that such a step will take with the present choice, between or beyond numbers of rows that
        are known where this one is not; None if there was no step of this kind.
        """
        return self._arms[work].expect(rows)

    def state(self) -> dict[str, float]:
        """For metrics, of each kind of work on texts: the choice for as many rows as the last step had, the time of a
        row then, both 0 before the first one, and how often a number was tried, and left because it collapsed.
        """
        state: dict[str, float] = {}
        for work in (Work.DECODE, Work.PREFILL):
            arms, name, rows = self._arms[work], work.value, self._rows.get(work, 0)
            state[f"{name}_threads"] = arms.chosen(rows) if rows else 0
            state[f"{name}_row_seconds"] = (arms.expect(rows) or 0.0) / rows / 1e9 if rows else 0.0
            state[f"{name}_trials_total"] = arms.trials
            state[f"{name}_falls_total"] = arms.falls
        return state
