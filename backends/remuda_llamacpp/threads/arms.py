"""The numbers of compute threads that one kind of work may use, and which of them is the best now.

The cheapest arm is the choice. What an arm costs for a number of rows that it has not met is guessed from those that it
has, and from the other arms. A choice is kept until a cost jumps, and there are two kinds of jump:

- the chosen arm *falls* (see `arm`);
- a *trial* of an arm next to it, for a few steps, shows what that costs now; it is given up at the first step that is
  clearly slower. The more a trial lost, and the more of them failed, the later is the next one.

As the pace is common to all numbers of rows, one batch size learns for all. Where a neighbour comes and goes, falls
that are soon over make an arm more patient, and stays that did not pay make its trials rarer: it does not oscillate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from .arm import CALM, SOON, YOUNG, Arm
from .costs import bucket
from .trial import Trial

__all__ = ["Arms"]

_MS: Final = 1_000_000

_MARGIN: Final = 0.02
"""A choice is changed for what is faster by this much."""

_ABANDONED: Final = 1_000 * _MS
"""A trial that got no step for so long is over."""
_FIRST_NS: Final = 500 * _MS
"""An arm is tried for the first time after a few steps, or after so much time in them."""

_MOST_UP: Final = 3_000 * _MS
"""Between two trials of more threads, at most."""
_LEAST_DOWN, _MOST_DOWN = 2_000 * _MS, 64_000 * _MS
"""Between two of fewer: a neighbour's arrival shows itself without them."""
_WORTH_UP, _WORTH_DOWN = 20, 50
_WORTH_LITTLE: Final = 100
"""The time between two trials is so many times what the last one lost. Little is to be won by those of a kind of work
that hears from another when the neighbour has gone."""
_DEAR: Final = 30 * _MS
"""Fewer threads are not tried in a step that is expected to lose more than this."""
_SUSPICION: Final = 3_000 * _MS
"""What another kind of work has felt is believed for so long."""
_FREE, _DENIED = 0.4, 5_000 * _MS
"""More threads are tried where so much of each core that they need has nothing to do; or, as that is only a hint, when
they have waited for so long.
"""


class _Choice(Struct):
    arm: Arm
    rival: Arm | None
    """The next best."""
    apart: float
    """By how much the rival's base was above the arm's."""
    age: int


class Arms:
    """For one kind of work. Times are nanoseconds of one clock."""

    def __init__(
        self, choices: Iterable[int], idle: Callable[[int], float | None], *, like: Arms | None = None
    ) -> None:
        """`choices`: numbers of threads, at least one, the usual one first. `idle`: as `IdleCores`. `like`: those of
        another kind of work that has shorter steps and tells how the arms compare, so that they need not be tried.
        """
        usual, *_ = choices = dict.fromkeys(choices)
        self._arms = {threads: Arm(threads) for threads in choices}
        self._usual = self._arms[usual]
        self._ladder = [self._arms[threads] for threads in sorted(choices)]
        self._idle, self._like = idle, like
        self._choices: dict[int, _Choice] = {}
        self._age = 0
        """Choices of another age are made again."""
        self._trial: Trial | None = None
        self._last = -CALM
        self.trials = self.falls = 0

    def threads(self, rows: int, now: int) -> int:
        chosen, trial = self._choice(rows).arm, self._trial
        if len(self._ladder) == 1:
            return chosen.threads
        if trial is not None and (trial.arm is chosen or now - trial.last > _ABANDONED):
            trial = self._trial = None
        if trial is None:
            trial = self._trial = self._try(chosen, rows, now)
        return trial.arm.threads if trial is not None and rows <= 2 * trial.rows else chosen.threads

    def chosen(self, rows: int) -> int:
        """The number of threads for steps that are no trial."""
        return self._choice(rows).arm.threads

    def expect(self, rows: int) -> float | None:
        """As `ThreadControl.expect`."""
        choice = self._choice(rows)
        return None if choice.age < 0 else math.exp(self._cost(choice.arm, rows))

    def note(self, rows: int, threads: int, spent: int, now: int) -> float:
        """A step took `spent`. Returns the jump of the pace of `threads` if they fell, which is above 0, or are chosen
        after a trial, which is below; else 0.
        """
        arm, cost = self._arms.get(threads), math.log(max(spent, 1))
        if arm is None:
            return 0.0
        arm.spent += spent
        self._last = now
        choice, trial = self._choice(rows), self._trial
        if trial is not None and trial.arm is arm and choice.arm is not arm:
            arm.believe()
            return self._judge(trial, choice.arm, rows, cost, now)
        if arm.borrowed:
            arm.borrowed = 0.0
            self._age += 1
            choice = self._choice(rows)
        jump = self._watch(choice, rows, cost, now) if choice.arm is arm else None
        if jump is not None:
            self._age += 1
            self.falls += 1
            return jump
        if arm.costs.known(rows) is None:
            self._age += 1
        arm.learn(rows, cost)
        return 0.0

    def hear(self, threads: int, jump: float, now: int) -> None:
        """Another kind of work noted a `jump`. Bad news is believed until this kind has tried for itself."""
        arm = self._arms[threads]
        arm.borrowed = max(0.0, arm.borrowed + jump)
        self._age += 1
        if jump > 0:
            arm.due = max(now + _SUSPICION, arm.paid)
            arm.suspect(jump)
        else:
            arm.due = now
            arm.wait = SOON

    # --- choosing ---

    def _choice(self, rows: int) -> _Choice:
        key = bucket(rows)
        old, age = self._choices.get(key), self._age if self._like is None else self._age + self._like._age
        if old is not None and old.age == age:
            return old
        if not any(arm.costs for arm in self._ladder):
            return _Choice(self._usual, None, 0.0, -1)  # not kept
        bases = {arm.threads: self._base(arm, rows) for arm in self._ladder}
        costs = {arm.threads: bases[arm.threads] + arm.pace + arm.borrowed for arm in self._ladder}
        best, *others = sorted(self._ladder, key=lambda arm: costs[arm.threads])
        if old is not None and costs[old.arm.threads] < costs[best.threads] + _MARGIN:
            others = [arm for arm in (best, *others) if arm is not old.arm]
            best = old.arm
        rival = others[0] if others else None
        apart = 0.0 if rival is None else bases[rival.threads] - bases[best.threads]
        choice = self._choices[key] = _Choice(best, rival, apart, age)
        return choice

    def _cost(self, arm: Arm, rows: int) -> float:
        return self._base(arm, rows) + arm.pace + arm.borrowed

    def _base(self, arm: Arm, rows: int) -> float:
        """Guessed, if it had no step of about as many rows. Something must be known of one of the arms."""
        base = arm.costs.known(rows)
        if base is not None:
            return base
        for other in self._ladder:
            base = other.costs.known(rows)
            if base is not None:
                return self._beside(arm, other, base, rows)
        if arm.costs:
            return arm.costs.read(rows)
        other = next(other for other in self._ladder if other.costs)
        return self._beside(arm, other, other.costs.read(rows), rows)

    def _beside(self, arm: Arm, other: Arm, base: float, rows: int) -> float:
        """The base of `arm`, where that of the `other` is `base`."""
        ideal = math.log(other.threads / arm.threads)
        if arm.costs and other.costs:
            near = arm.costs.nearest(rows)
            return base + _scaled(arm.costs.read(near) - other.costs.read(near), ideal, more=rows > near)
        ratio = None if self._like is None else self._like._ratio(arm.threads, other.threads)
        if ratio is not None:
            return base + other.pace + other.borrowed + _scaled(ratio, ideal, more=True) - arm.pace - arm.borrowed
        return base + max(ideal, 0.0)  # more threads promise nothing before they were tried

    def _ratio(self, threads: int, others: int) -> float | None:
        """By how much steps cost more with `threads` than with `others` now, of as many rows as are known."""
        arm, other = self._arms[threads], self._arms[others]
        if not arm.costs or not other.costs:
            return None
        most = arm.costs.nearest(1 << 30)
        return arm.costs.read(most) + arm.pace - other.costs.read(most) - other.pace

    def _watch(self, choice: _Choice, rows: int, cost: float, now: int) -> float | None:
        """The jump of the chosen arm's pace, if it falls."""
        arm, rival = choice.arm, choice.rival
        base = arm.costs.known(rows)
        if base is None or rival is None:
            return None
        other = rival.costs.known(rows)
        least = math.exp((base + choice.apart if other is None else other) + rival.pace + rival.borrowed)
        lost = math.exp(cost) - least
        return arm.fall(lost, now) if arm.falls(lost / least, lost, cost - base - arm.pace, now) else None

    # --- trying ---

    def _try(self, chosen: Arm, rows: int, now: int) -> Trial | None:
        at = self._ladder.index(chosen)
        for arm in self._ladder[at + 1 : at + 2] + self._ladder[max(at - 1, 0) : at]:
            if now >= arm.due and self._worth(arm, chosen, rows, now):
                self.trials += 1
                return Trial(arm, rows, now)
        return None

    def _worth(self, arm: Arm, chosen: Arm, rows: int, now: int) -> bool:
        """Whether a step of so many rows is one to try `arm` with, which is due."""
        if not arm.costs:
            if self._like is not None:
                return not self._like._arms[arm.threads].costs and chosen.costs.steps(rows) >= 2 * YOUNG
            return chosen.costs.steps(rows) >= YOUNG or chosen.spent > _FIRST_NS
        if arm.threads < chosen.threads:
            return math.exp(self._cost(arm, rows)) - math.exp(self._cost(chosen, rows)) < _DEAR
        if arm.wait <= SOON:
            return True
        idle = self._idle(now)
        if idle is None:
            return now >= arm.paid
        return idle >= _FREE * (arm.threads - chosen.threads) or now >= max(arm.paid, arm.due + _DENIED)

    def _judge(self, trial: Trial, chosen: Arm, rows: int, cost: float, now: int) -> float:
        """After each of its steps; returns as `note`."""
        least, expected = self._cost(chosen, rows), self._cost(trial.arm, rows)
        if not trial.step(rows, cost, chosen=least, expected=expected, now=now):
            return 0.0
        arm, jump = trial.arm, trial.end()
        self._trial = None
        self._age += 1
        chosen = self._choice(rows).arm
        if chosen is arm:
            arm.rise(now)
            return min(jump, -_MARGIN)
        told = self._like is not None and now - self._like._last < CALM
        if arm.threads > chosen.threads:
            arm.wait = min(2 * arm.wait, _MOST_UP)
            arm.due, arm.paid = now + arm.wait, now + int(trial.lost) * (_WORTH_LITTLE if told else _WORTH_UP)
        else:
            arm.wait = min(max(2 * arm.wait, _LEAST_DOWN), _MOST_DOWN)
            arm.due = now + max(arm.wait, int(trial.lost) * _WORTH_DOWN)
        return 0.0


def _scaled(ratio: float, ideal: float, *, more: bool) -> float:
    """A ratio of costs, for more rows than it was seen with: the more there are, the more of the time is arithmetic,
    which the threads share, and the nearer it is to the `ideal`.
    """
    return (ratio + ideal) / 2 if more and 0 < ratio / ideal < 1 else ratio
