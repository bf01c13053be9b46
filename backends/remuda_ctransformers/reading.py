"""How far a load is: the library does not tell, but the system knows how much a process has read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["reading"]

_EVERY: Final = 0.25
"""Seconds."""
_COUNTS: Final = Path("/proc/self/io")


@contextmanager
def reading(size: int, tell: Callable[[float], None]) -> Generator[None]:
    """While this is open, `tell` hears from a thread, whenever more was read, which part of `size` bytes it is by now.

    Nothing is told where the system does not count, and of files that are mapped.
    """
    done, began = threading.Event(), _read()

    def watch() -> None:
        before = 0
        while not done.wait(_EVERY):
            now = _read() - began
            if now > before:
                before = now
                tell(min(now / max(1, size), 1.0))

    thread = threading.Thread(target=watch, name="reading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _read() -> int:
    """Bytes so far; always 0 if it is not known."""
    try:
        lines = _COUNTS.read_text(encoding="ascii").splitlines()
        return next(int(line.removeprefix("rchar:")) for line in lines if line.startswith("rchar:"))
    except (OSError, ValueError, StopIteration):
        return 0
