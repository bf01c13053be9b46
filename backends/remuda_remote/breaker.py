"""When an upstream that fails is left alone, and when it is tried again: pure, the moment is always given.

    up ── failures in a row ──> down ── cooldown is over ──> trying ── one attempt ──> up, or down for twice as long

Requests and probes count apart: a server whose lists are fine while its answers fail is not well, so a probe that
passes forgives failed probes only.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["Breaker", "Health"]

Health: TypeAlias = Literal["up", "down", "trying"]

_DOUBLINGS: Final = 4
"""The longest cooldown is sixteen times the first."""


class Breaker:
    """A trial is a number, 0 for what is none: whoever began it hands it back with the outcome, once."""

    def __init__(self, failures: int = 5, cooldown: float = 10.0) -> None:
        self.failures, self.cooldown = failures, cooldown
        self._row = self._probes = 0
        self._doublings = 0
        self._until: float | None = None
        self._trial = self._trials = 0
        self._probe_failed = False

    def limit(self, failures: int, cooldown: float) -> None:
        """New settings, from the next failure on."""
        self.failures, self.cooldown = failures, cooldown

    @property
    def row(self) -> int:
        """Failures since it was last well."""
        return self._row + self._probes

    @property
    def silent(self) -> bool:
        """It failed its last probe."""
        return self._probes > 0

    def health(self, now: float) -> Health:
        if self._until is None:
            return "up"
        return "trying" if self._trial or now >= self._until else "down"

    def admits(self, now: float) -> bool:
        """Whether an attempt may begin."""
        return self._until is None or (not self._trial and now >= self._until)

    def wait(self, now: float) -> float:
        """Seconds until it may be tried; 0 if it may, or is being, tried."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def begin(self, now: float) -> int:
        """An attempt begins where `admits` said so: the number of the trial that it is, or 0."""
        if self._until is None or not self.admits(now):
            return 0
        self._trials += 1
        self._trial = self._trials
        return self._trial

    def began(self, trial: int) -> bool:
        """An answer has begun. True if that ends the time of being left alone.

        How long it will be left alone the next time is only forgotten once an answer was whole (`well`): a server that
        begins well and always breaks off must not be back every few seconds.
        """
        return self._ours(trial) and self._close()

    def well(self) -> None:
        """A request was answered, whole."""
        if self._until is None:
            self._row = self._probes = self._doublings = 0

    def failed(self, now: float, trial: int = 0) -> bool:
        """A request failed. True if it goes down with that."""
        if self._until is None or self._ours(trial):
            self._row += 1
            return self._count(now)
        return False  # it began before the upstream went down: nothing new

    def abandoned(self, trial: int) -> None:
        """An attempt ended without saying anything about health; after a trial the next attempt is one."""
        if self._ours(trial):
            self._trial = 0

    def probe_passed(self, trial: int = 0, *, proved: bool = False) -> bool:
        """It listed its models, `proved` if it wrote something, too. True if that ends the time of being left alone.

        Before the cooldown is over that is so if it could not be probed for a while, and now can; or if it is proved.
        """
        back, self._probe_failed, self._probes = self._probe_failed, False, 0
        return self._until is not None and (self._ours(trial) or back or proved) and self._close()

    def probe_failed(self, now: float, trial: int = 0) -> bool:
        """True if it goes down with that."""
        self._probes += 1
        self._probe_failed = True
        return (self._until is None or self._ours(trial)) and self._count(now)

    def _ours(self, trial: int) -> bool:
        return trial != 0 and trial == self._trial

    def _close(self) -> bool:
        self._until, self._trial, self._row, self._probes = None, 0, 0, 0
        self._probe_failed = False
        return True

    def _count(self, now: float) -> bool:
        was_up, self._trial = self._until is None, 0
        if was_up and self.row < self.failures:
            return False
        self._until = now + self.cooldown * 2**self._doublings
        self._doublings = min(self._doublings + 1, _DOUBLINGS)
        return was_up
