"""A folder that is a cache, and its bounds: what is too old goes, then what was used longest ago until the rest fits.

Processes share it without a lock: anybody may make or remove any of its files at any time. Files that are named
otherwise than the cache's own are somebody else's, and left alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

__all__ = ["Kind", "cut", "make", "remove"]

_FORGOTTEN: Final = 3600.0
"""Seconds after which a temporary file that nobody has written to is one that somebody died over."""


class Kind(Struct, frozen=True):
    """What a cache's files are called, and where it is noted when they were used."""

    kept: re.Pattern[str]
    temporary: re.Pattern[str]
    """Those that are still being written."""
    used: Callable[[os.stat_result], int]
    """Nanoseconds since 1970."""


def make(folder: Path) -> None:
    """For its owner only, if it is not there: it may hold what users have written. Raises `OSError`.

    One that is there keeps its permissions; the files have their own.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def cut(folder: Path, kind: Kind, most_bytes: int, most_age: float) -> None:
    """Down to the bounds, in bytes and in seconds. Raises `OSError` if the folder can't be listed."""
    now = time.time()
    kept: list[tuple[int, str, int]] = []
    for name, found in _files(folder):
        if kind.temporary.fullmatch(name):
            if now - max(found.st_mtime, found.st_atime) > _FORGOTTEN:  # one of them may be set to another file's
                remove(folder / name)
        elif kind.kept.fullmatch(name):
            used = kind.used(found)
            if not (now - used / 1e9 > most_age and remove(folder / name)):
                kept.append((used, name, found.st_size))
    excess = sum(size for _, _, size in kept) - most_bytes
    for _, name, size in sorted(kept):
        if excess <= 0:
            return
        if remove(folder / name):
            excess -= size


def remove(path: Path) -> bool:
    """Whether it is gone. What is behind a link stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # somebody else has removed it
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name, entry.stat(follow_symlinks=False)
