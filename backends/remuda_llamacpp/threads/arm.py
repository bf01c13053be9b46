"""One number of compute threads: what steps cost with it, and whether it still deserves to be the choice.

The name is that of bandits: of several arms one is chosen, and only from the chosen one something is learnt. What a
step costs is taken for the product of two things:

- the base, which depends on the rows and changes slowly (the model, the machine, the length of the texts);
- the pace, the same for all numbers of rows, which may change at any moment: the times by which steps are stretched
  because another program wants the cores.

Each step of the chosen arm says how much longer or shorter it took than one with the next best. Their sum, never below
0, is the arm's regret (a CUSUM test): steps that are slower for once are outweighed by those after them, a neighbour's
arrival is not. Where the regret exceeds the arm's patience it falls: its pace becomes what the stretched steps say.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from .costs import StepCosts

__all__ = ["CALM", "SOON", "YOUNG", "Arm"]

_MS: Final = 1_000_000

YOUNG: Final = 4
"""Steps of about as many rows, before their cost is trusted."""
_SETTLED: Final = 2 * YOUNG
"""Before they say something about the pace."""
_QUICK: Final = 1 / 16
"""How much of a surprise goes into the pace at once."""
_BELIEVED: Final = 0.3
"""The largest surprise that a single step may be, as a logarithm: some are stretched by chance."""

_PATIENCE: Final = 1.0
"""Regret that makes an arm fall, in steps of the next best."""
_MOST_PATIENCE: Final = 32.0
_STRETCHED: Final = 3
"""As many steps must have been slower than the next best by `_SLOWER`: two may be chance."""
_SLOWER: Final = 0.1
_MOST_REGRET: Final = 4.0
"""Of a single step: threads that spin stretch one now and then to fifty times its length."""
_DISASTER, _DISASTER_NS = 10.0, 500 * _MS
"""Of steps that are slower by so much, and lose so much time, one is enough."""
_SHORT: Final = 2_000 * _MS
"""A fall that is over before was for nothing."""
CALM: Final = 10_000 * _MS
"""As long without a fall halves the patience."""

SOON: Final = 100 * _MS
_RARELY: Final = 3_000 * _MS
"""Between a fall and a trial: at first, and at most."""


class Arm(Struct):
    """Costs are logarithms of nanoseconds, paces those of ratios, times nanoseconds of one clock."""

    threads: int
    costs: StepCosts = field(default_factory=StepCosts)
    """The base, by the number of rows."""
    pace: float = 0.0
    borrowed: float = 0.0
    """On top of the pace, while only another kind of work has felt it."""
    spent: int = 0
    """In all steps."""
    due: int = 0
    """When it may be tried."""
    paid: int = 0
    """When the time that its last trial lost is a small part of what has passed since."""
    wait: int = SOON
    """Between two trials: grows while they fail. At first they are cheap enough to need no hint."""
    left: int = -CALM
    """When it fell."""
    before: float = 0.0
    """The pace until then."""
    patience: float = _PATIENCE
    stay: float = 0.0
    """The regret since it was chosen; unlike `regret` it is below 0 where the choice paid."""
    regret: float = 0.0
    stretched: int = 0
    surprise: float = 0.0
    """Sum over the stretched steps since `regret` was 0."""

    def learn(self, rows: int, cost: float) -> None:
        """A step took `cost`; in the long run that is the base, at once a little of it is the pace."""
        base, expected = cost - self.pace, self.costs.known(rows)
        settled = self.costs.steps(rows) > _SETTLED
        if expected is None or (not settled and base < expected - _BELIEVED):
            # Much shorter than the first ones: those were stretched by something.
            self.costs.begin(rows, base)
            return
        surprise = max(-_BELIEVED, min(base - expected, _BELIEVED))
        self.costs.learn(rows, expected + surprise)
        if settled:
            self.pace += _QUICK * surprise

    def falls(self, worse: float, lost: float, surprise: float, now: int) -> bool:
        """Whether it falls after a step that took `lost` nanoseconds more than with the next best, which is `worse`
        times the time of that, and as the logarithm says `surprise` more than it took before.
        """
        self.stay += worse
        self.regret += min(worse, _MOST_REGRET)
        if self.regret <= 0:
            self.watch()
            return False
        if worse > _SLOWER:
            self.stretched += 1
            self.surprise += surprise
        if worse > _DISASTER and lost > _DISASTER_NS:
            return True
        return self.stretched >= _STRETCHED and self.regret > self._patience(now)

    def fall(self, lost: float, now: int) -> float:
        """After a step that `lost` so many nanoseconds. Returns by how much the pace jumps."""
        jump = max(self.surprise / self.stretched, 0.0)
        self.before = self.pace
        self.pace += jump
        self.patience = self._patience(now)
        self.wait = SOON if self.stay < 0 else min(2 * self.wait, _RARELY)
        if lost > _DISASTER_NS:  # so much may a trial lose, too
            self.wait = max(self.wait, 2 * SOON)
            self.paid = now + CALM
        self.due, self.left = now + self.wait, now
        self.watch()
        return jump

    def believe(self) -> None:
        """What was borrowed is its own."""
        if self.borrowed:
            self.before = self.pace
            self.pace += self.borrowed
            self.borrowed = 0.0

    def rise(self, now: int) -> None:
        """It is chosen after a trial."""
        if now - self.left < _SHORT:
            self.patience = min(2 * self.patience, _MOST_PATIENCE)
        self.stay = 0.0
        self.watch()

    def watch(self) -> None:
        """Begin with a regret of 0."""
        self.regret = self.surprise = 0.0
        self.stretched = 0

    def suspect(self, jump: float) -> None:
        """Another kind of work has fallen: if the next step is stretched, too, that is enough."""
        self.regret, self.stretched = 0.8 * _PATIENCE, _STRETCHED - 1
        self.surprise = jump * self.stretched

    def _patience(self, now: int) -> float:
        return max(_PATIENCE, self.patience * 0.5 ** ((now - self.left) // CALM))
