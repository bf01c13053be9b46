"""The processes that the tests' own one has started."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["children"]


def children() -> set[str]:
    """Ids of the child processes of this one; those of other tests' servers are among them, and may end at any time."""
    pids: set[str] = set()
    for task in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended meanwhile
            pids.update(task.read_text().split())
    return pids
