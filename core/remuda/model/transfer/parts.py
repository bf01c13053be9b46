"""What has come of a blob, on disk: the data file, and beside it how far each of its parts is.

    sha256-<hex>-partial        all bytes at their places, as long as the blob will be
    sha256-<hex>-partial-<N>    {"N", "Offset", "Size", "Completed"} of one part

A part's state is written after its bytes are on the disk, so that it never promises more than is there; a part without
one has nothing yet. Only who holds the lock of the data file writes to it: pullers in several processes take turns.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Final, Self

import msgspec
from msgspec import Struct

from ..store import disk_errors
from ..store.files import lock

__all__ = ["Bounds", "Part", "PartialFile"]

_MOST_PARTS: Final = 4096
_SHARE: Final = 16


class Bounds(Struct, frozen=True):
    """Bytes that a part has at least and at most."""

    smallest: int = 100_000_000
    largest: int = 1_000_000_000


class Part(Struct, rename="pascal"):
    """A part of a blob, by bytes. Its keys on disk are those of the protocol's reference."""

    n: int
    offset: int
    size: int
    completed: int = 0
    """Written to the data file, from `offset` on."""

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self.offset + self.completed


class PartialFile:
    """The data file, opened and locked. All methods block, and raise `RemudaError` for what the disk refuses."""

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = size
        self._saved: dict[int, int] = {}
        self.parts: list[Part] = []

    @classmethod
    def claim(cls, path: Path, size: int, bounds: Bounds) -> Self | None:
        """With what an earlier download left there. None while somebody else has it."""
        with disk_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if not _locked(descriptor, path):
                    os.close(descriptor)
                    return None
                file = cls(path, descriptor, size)
                file._begin(bounds)
                return file
            except BaseException:
                os.close(descriptor)
                raise

    def restart(self) -> None:
        """One part, of which nothing has come: for registries that only send a blob as a whole."""
        self.forget()
        self.parts = [Part(0, 0, self._size)]
        self._saved = {}

    def write(self, part: Part, data: bytes) -> None:
        """The bytes that come next in this part."""
        with disk_errors():
            view = memoryview(data)
            while view:
                written = os.pwrite(self._descriptor, view, part.position)
                part.completed += written
                view = view[written:]

    def save(self) -> None:
        """Note how far each part is, so that it outlives this process and the machine's next crash."""
        states = [msgspec.structs.replace(part) for part in self.parts if self._saved.get(part.n, 0) != part.completed]
        if not states:
            return
        with disk_errors():
            os.fsync(self._descriptor)
            for state in states:
                _write(self._path.with_name(f"{self._path.name}-{state.n}"), msgspec.json.encode(state))
                self._saved[state.n] = state.completed

    def forget(self) -> None:
        """Remove the notes: the data file has become a blob, or was removed."""
        with disk_errors():
            for path in _states(self._path):
                path.unlink(missing_ok=True)

    def share(self) -> None:
        """Let others read the file, but not write to it."""
        lock(self._descriptor, fcntl.LOCK_SH)

    def discard(self) -> None:
        """Close it, and leave nothing behind."""
        try:
            with disk_errors():
                self._path.unlink(missing_ok=True)
            self.forget()
        finally:
            self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def _begin(self, bounds: Bounds) -> None:
        known: list[Part] = []
        if os.fstat(self._descriptor).st_size == self._size:
            known = _read(self._path, self._size)
        if not known:
            self.forget()
            os.ftruncate(self._descriptor, 0)
            os.ftruncate(self._descriptor, self._size)
        self._saved = {part.n: part.completed for part in known}
        self.parts = _complete(known, self._size, bounds)


def _complete(known: list[Part], size: int, bounds: Bounds) -> list[Part]:
    """Those and, for what is between them, others."""
    step = min(max(size // _SHARE, bounds.smallest), bounds.largest)
    step = max(step, -(-size // _MOST_PARTS), 1)
    numbers = iter(sorted(set(range(2 * _MOST_PARTS + len(known))) - {part.n for part in known}))
    parts: list[Part] = []
    end = 0
    for offset, following in [*((part.offset, part) for part in known), (size, None)]:
        parts += [Part(next(numbers), at, min(step, offset - at)) for at in range(end, offset, step)]
        if following is not None:
            parts.append(following)
            end = following.end
    return parts


def _locked(descriptor: int, path: Path) -> bool:
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking it may have become a blob.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _states(path: Path) -> list[Path]:
    name = re.compile(rf"{re.escape(path.name)}-\d+(\.tmp)?")
    return [each for each in path.parent.iterdir() if name.fullmatch(each.name)]


def _read(path: Path, size: int) -> list[Part]:
    """Those that can be: in the order of their places, none over another."""
    parts: list[Part] = []
    for each in _states(path):
        try:
            part = msgspec.json.decode(each.read_bytes(), type=Part)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        if each.name == f"{path.name}-{part.n}" and 0 <= part.completed <= part.size:
            parts.append(part)
    parts.sort(key=lambda part: part.offset)
    end = 0
    fitting: list[Part] = []
    for part in parts[:_MOST_PARTS]:
        if part.completed and end <= part.offset and part.end <= size:
            fitting.append(part)
            end = part.end
    return fitting


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}.tmp")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
