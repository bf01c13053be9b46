"""The folder's bounds: what is too old goes, then what was used longest ago until the rest fits.

A file's time of modification is when it was last used. All states count, whatever model they belong to; files that
are named otherwise are somebody else's, and left alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from .file import is_state, is_temporary

__all__ = ["cut", "make", "remove", "touch"]

_FORGOTTEN: Final = 3600.0
"""Seconds after which a temporary file that nobody has written to is one that somebody died over."""


def make(folder: Path) -> None:
    """For its owner only, if it is not there: it will hold what users have written. Raises `OSError`.

    One that is there keeps its permissions; the files have their own.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def cut(folder: Path, most_bytes: int, most_age: float) -> None:
    """Down to the bounds, in bytes and in seconds. Raises `OSError` if the folder can't be listed."""
    now = time.time()
    kept: list[tuple[int, str, int]] = []
    for name, found in _files(folder):
        age = now - found.st_mtime
        if is_temporary(name):
            if age > _FORGOTTEN:
                remove(folder / name)
        elif is_state(name) and not (age > most_age and remove(folder / name)):
            kept.append((found.st_mtime_ns, name, found.st_size))
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


def touch(path: Path) -> bool:
    """Note that it is used now. Whether it is there."""
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:  # it goes a little sooner than it should
        return True
    return True


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # somebody else has removed it
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name, entry.stat(follow_symlinks=False)
