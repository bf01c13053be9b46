"""How many cores have nothing to do: a hint that a neighbour has gone, as Linux counts it.

Only a hint. A neighbour of low priority leaves no core idle and yet gives way; in a container the counters may be made
up; other systems have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from remuda.runner.cores import usable_cores

__all__ = ["IdleCores"]

_MS: Final = 1_000_000
_OFTEN: Final = 500 * _MS
"""The counters go on in steps of 10 ms, and reading them takes 50 microseconds and more."""
_STALE: Final = 4 * _OFTEN
_IDLE: Final = slice(4, 6)
"""Fields of a line: its name, then times in user, nice, system, idle and waiting for a disk."""


class IdleCores:
    """Of those that this process may use."""

    def __init__(self, path: Path = Path("/proc/stat"), cores: Iterable[int] | None = None) -> None:
        self._path = path
        self._names = {f"cpu{core}" for core in (usable_cores() if cores is None else cores)}
        self._read = -_STALE
        self._idle = self._all = 0
        self._cores: float | None = 0.0

    def __call__(self, now: int) -> float | None:
        """The average of about the last half second; 0 if it is not known yet, None if it can't be known.

        `now`: nanoseconds of any clock.
        """
        age = now - self._read
        if age < _OFTEN:
            return self._cores
        idle, total = self._count()
        passed = total - self._all
        if not self._names or not total:
            self._cores = None
        elif age >= _STALE or passed <= 0:
            self._cores = 0.0
        else:
            self._cores = len(self._names) * (idle - self._idle) / passed
        self._read, self._idle, self._all = now, idle, total
        return self._cores

    def _count(self) -> tuple[int, int]:
        """Ticks that the cores were idle, and all of their ticks."""
        idle = total = 0
        try:
            for line in self._path.read_text().splitlines():
                name, *_ = fields = line.split(maxsplit=9)
                if name in self._names:
                    idle += sum(map(int, fields[_IDLE]))
                    total += sum(map(int, fields[1:9]))
        except (OSError, ValueError):
            return 0, 0
        return idle, total
