"""Tells a process that works long from one that hangs: by how long it has said nothing while it owes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["Watchdog"]

_NAP: Final = 5.0
"""Seconds at most between two looks, so that a bound that was changed soon counts."""
_GRACE: Final = 1.0


class Watchdog:
    """One timer for one process. What is heard costs nothing but the noting of `heard`.

    It is the watcher that may have slept: its event loop was held up, or the whole machine was. So whoever is late is
    given a moment more, in which the process can speak and the loop can listen, before it is given up.
    """

    def __init__(self, owes: Callable[[], bool], patience: Callable[[], float], bite: Callable[[float], None]) -> None:
        """`owes`: whether an answer is due; `patience`: seconds of silence that are borne then, now and maybe later
        others; `bite`: called with them when they are over, at most once for each `begin`."""
        self.heard = 0.0
        """When the process last said something, by the loop's clock."""
        self._owes, self._patience, self._bite = owes, patience, bite
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._suspects = False

    def begin(self) -> None:
        """From this moment an answer is due where none was."""
        self.heard = self._loop.time()
        self._suspects = False
        patience = self._patience()
        if self._timer is None or self._timer.when() > self.heard + patience:
            self.stop()
            self._sleep(patience)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sleep(self, seconds: float) -> None:
        self._timer = self._loop.call_later(min(seconds, _NAP), self._look)

    def _look(self) -> None:
        assert self._timer is not None
        now, due, self._timer = self._loop.time(), self._timer.when(), None
        if not self._owes():
            return
        patience = self._patience()
        grace = min(_GRACE, patience / 4)
        left = self.heard + patience - now
        if left > 0:
            self._suspects = False
            self._sleep(left)
        elif self._suspects and now - due < grace:
            self._bite(patience)
        else:
            self._suspects = True
            self._sleep(grace)
