"""Stores of sequence states in one folder, and states to put into them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from remuda_llamacpp.saved import SavedStates

__all__ = ["KIB", "WAIT", "Stores", "age", "files", "state", "store", "tokens"]

KIB = 1024
WAIT = 10.0
"""Seconds that nothing here should take."""


class Stores:
    """Makes stores, as several processes would, and closes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[SavedStates] = []

    def __call__(
        self, key: str = "model", *, most_bytes: int = 1024 * KIB, most_age: float = 3600.0, at: Path | None = None
    ) -> SavedStates:
        self._made.append(SavedStates(at or self._folder, key, most_bytes=most_bytes, most_age=most_age))
        return self._made[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for saved in self._made:
            saved.close(WAIT)


def tokens(*numbers: int) -> NDArray[np.int32]:
    return np.array(numbers, np.int32)


def state(seed: int, size: int = KIB) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def store(saved: SavedStates, wanted: NDArray[np.int32], content: NDArray[np.uint8], namespace: str = "") -> None:
    """Taken, and written if it can be."""
    assert saved.offer(wanted, content, namespace)
    assert saved.flush(WAIT)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".state")


def age(path: Path, seconds: float) -> None:
    """As if it had been used that long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
