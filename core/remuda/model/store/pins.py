"""Blobs that must stay: whoever needs one holds a shared lock on its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from ..digest import Digest
from .errors import BlobMissing, disk_errors
from .files import hold

__all__ = ["Pins"]


class Pins:
    """A context manager; several threads may share one. Made by `Store.pin`."""

    def __init__(self, locate: Callable[[Digest], Path], left: Callable[[set[Digest]], None]) -> None:
        """`left` is told which blobs are let go of, once they are."""
        self._locate, self._left = locate, left
        self._held: dict[Digest, int] = {}
        self._closed = False
        self._lock = Lock()

    def add(self, digest: Digest) -> None:
        """Raises `BlobMissing`."""
        if digest in self._held:
            return
        with disk_errors():
            descriptor = hold(self._locate(digest))
        if descriptor is None:
            raise BlobMissing(digest)
        self.take(digest, descriptor)

    def take(self, digest: Digest, descriptor: int) -> None:
        """Own a descriptor of the blob's file that has its shared lock already."""
        with self._lock:
            if self._closed or digest in self._held:
                os.close(descriptor)
            else:
                self._held[digest] = descriptor

    def close(self) -> None:
        with self._lock:
            self._closed = True
            held, self._held = self._held, {}
        for descriptor in held.values():
            os.close(descriptor)
        if held:
            self._left(set(held))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
