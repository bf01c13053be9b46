"""A blob being written: it gets its name when it is whole, on the disk, and has the digest that was expected."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ...failpoints import failpoint
from ..digest import Digest
from .errors import DigestMismatch, disk_errors
from .files import create_held, make_folder, write_all
from .pins import Pins

__all__ = ["Incoming", "Publish"]


class Publish(Protocol):
    def __call__(self, path: Path, descriptor: int, digest: Digest, pins: Pins | None) -> bool:
        """Name the file at `path`, which is on the disk, after its digest. False, and the file is gone, if the blob
        is there already."""
        ...


class Incoming:
    """A context manager. What was not published when it ends is removed."""

    def __init__(self, path: Path, publish: Publish) -> None:
        """`path` is the new file's, where nothing may be yet."""
        self._path, self._publish = path, publish
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self.size = 0
        """Bytes written so far."""

    def write(self, data: bytes) -> None:
        """Raises `RemudaError` when the disk is full."""
        with disk_errors():
            failpoint("blob.write")
            write_all(self._descriptor, data)
        self._hash.update(data)
        self.size += len(data)

    def publish(self, expected: Digest | None = None, pins: Pins | None = None) -> tuple[Digest, bool]:
        """The digest, and whether the store did not have this blob before; `pins` holds it then.

        Raises `DigestMismatch`, and publishes nothing, when the bytes are not those `expected`.
        """
        digest = Digest(self._hash.digest())
        if expected is not None and digest != expected:
            raise DigestMismatch(expected, digest)
        with disk_errors():
            failpoint("blob.fsync")
            os.fsync(self._descriptor)
            return digest, self._publish(self._path, self._descriptor, digest, pins)

    def __enter__(self) -> Self:
        with disk_errors():
            make_folder(self._path.parent)
            self._descriptor = create_held(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        with suppress(OSError):  # nothing is there once it is published
            self._path.unlink()
