"""Which blobs are known to have the bytes of their digests, so that none is hashed twice."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec
from msgspec import Struct, field

from ..digest import Digest
from .files import create_file, write_all
from .layout import TEMPORARY

__all__ = ["FileState", "Verified", "state_of"]

_MOST: Final = 8192
_MAX_FILE: Final = 4 * 1024 * 1024

FileState = tuple[int, int, int, int]
"""Inode, size, and times of modification and change in nanoseconds: a file that keeps them keeps its bytes."""


def state_of(stat: os.stat_result) -> FileState:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class _Notes(Struct):
    version: int = 1
    blobs: dict[str, FileState] = field(default_factory=dict[str, FileState])
    """By 64 hex digits, the latest last."""


class Verified:
    """Kept in a file as well. One that is missing, damaged or cannot be written costs time, never correctness."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._states: dict[str, FileState] | None = None
        self._unsaved: dict[str, FileState] = {}
        self._lock = Lock()

    def knows(self, digest: Digest, state: FileState) -> bool:
        with self._lock:
            return self._known().get(digest.hex) == state

    def add(self, digest: Digest, state: FileState) -> None:
        """Kept in memory until `save`."""
        with self._lock:
            self._known()[digest.hex] = self._unsaved[digest.hex] = state

    def save(self) -> None:
        """What other processes have saved meanwhile is kept."""
        with self._lock:
            if not self._unsaved:
                return
            blobs = self._read()
            for key, state in self._unsaved.items():
                blobs.pop(key, None)
                blobs[key] = state
            blobs = dict(list(blobs.items())[-_MOST:])
            with suppress(OSError):
                self._write(msgspec.json.encode(_Notes(blobs=blobs)))
                self._states, self._unsaved = blobs, {}

    def _known(self) -> dict[str, FileState]:
        if self._states is None:
            self._states = self._read()
        return self._states

    def _read(self) -> dict[str, FileState]:
        try:
            if self._path.stat().st_size > _MAX_FILE:
                return {}
            notes = msgspec.json.decode(self._path.read_bytes(), type=_Notes)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return notes.blobs if notes.version == 1 else {}

    def _write(self, data: bytes) -> None:
        temporary = self._path.with_name(f"{TEMPORARY}{secrets.token_hex(12)}")
        descriptor = create_file(temporary)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
