"""The blobs of a store: read, added, checked. Each is a file that is named for its digest and never changes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

from ...errors import LoadFailed
from ...failpoints import failpoint
from ..digest import Digest
from ..manifest import BadManifest
from .errors import BlobMissing, DigestMismatch, disk_errors
from .files import exclusive, hold, make_folder, sync_folder
from .incoming import Incoming
from .layout import Layout
from .pins import Pins
from .verified import FileState, Verified, state_of

__all__ = ["Blobs"]

_log = logging.getLogger("remuda.store")
_PIECE: Final = 1024 * 1024


class Blobs:
    """Half of `Store`. Whoever changes anything that is there already does so inside `_changing`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._layout = Layout(root)
        self._verified = Verified(self._layout.verified)
        self._condemned: set[Digest] = set()
        """Blobs that nobody needed when they were to be removed, but that somebody held."""
        self._adopted: dict[tuple[Path, FileState], Digest] = {}

    def blob(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        path = self._layout.blob(digest)
        if not path.exists() and (old := self._layout.old_blob(digest)).exists():
            return old
        return path

    def has(self, digest: Digest) -> bool:
        return self.blob(digest).is_file()

    def blob_size(self, digest: Digest) -> int:
        """Raises `BlobMissing`."""
        with disk_errors():
            try:
                return self.blob(digest).stat().st_size
            except FileNotFoundError:
                raise BlobMissing(digest) from None

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        """All of a small blob, its digest checked.

        Raises `BlobMissing`, `BadManifest` for one of more than `limit` bytes, and what `verify` raises.
        """
        with disk_errors():
            try:
                with self.blob(digest).open("rb") as file:
                    data = file.read(limit + 1)
            except FileNotFoundError:
                raise BlobMissing(digest) from None
        if len(data) > limit:
            raise BadManifest(f"blob {digest.short} has more than the {limit} bytes that are possible there")
        if Digest.of(data) != digest:
            self.verify(digest)
        return data

    def incoming(self) -> Incoming:
        """A new blob, to be written and published inside a `with`."""
        return Incoming(self._layout.new_blob(), self._publish)

    def put(self, data: bytes, pins: Pins | None = None) -> tuple[Digest, bool]:
        """The digest, and whether the store did not have this blob before; `pins` holds it then."""
        with self.incoming() as incoming:
            incoming.write(data)
            return incoming.publish(pins=pins)

    def adopt(self, source: Path, pins: Pins | None = None, *, check: Callable[[], None] = lambda: None) -> Digest:
        """The digest of a file from elsewhere, which the store has afterwards; `pins` holds it then.

        `check` is called now and then and may raise to give up. Raises `LoadFailed` when the file cannot be read.
        """
        try:
            file = source.open("rb", buffering=0)
        except OSError as error:
            raise LoadFailed(f"the weights cannot be read: {error.strerror}") from None
        with disk_errors(), file:
            key = (source, state_of(os.fstat(file.fileno())))
            known = self._adopted.get(key)
            if known is not None and self.has(known):
                with suppress(BlobMissing):
                    if pins is not None:
                        pins.add(known)
                    return known
            with self.incoming() as incoming:
                while data := file.read(_PIECE):
                    check()
                    incoming.write(data)
                digest, _ = incoming.publish(pins=pins)
        self._adopted[key] = digest
        return digest

    def take(self, path: Path, pins: Pins | None = None) -> Digest:
        """The digest of a file in the store's root, which is a blob then and no longer at `path`; `pins` holds it."""
        with disk_errors():
            make_folder(self._layout.blobs)
            descriptor = hold(path)
            if descriptor is None:
                raise LoadFailed("the weights that were being written are gone")
            with open(descriptor, "rb", buffering=0) as file:
                digest = Digest(hashlib.file_digest(file, "sha256").digest())
                failpoint("blob.fsync")
                os.fsync(descriptor)
                self._publish(path, descriptor, digest, pins)
        return digest

    def pin(self, digests: Iterable[Digest] = ()) -> Pins:
        """A context manager that keeps blobs from being removed by anybody. Raises `BlobMissing`."""
        pins = Pins(self.blob, self._left)
        try:
            for digest in digests:
                pins.add(digest)
        except BaseException:
            pins.close()
            raise
        return pins

    def verify(self, digest: Digest) -> None:
        """Blocking, and slow where this state of the file has not been hashed yet.

        Raises `LoadFailed` when the bytes are not those of the digest; the file is put aside then, so that the model
        can be had again.
        """
        advice = "pull the model or create it again"
        with disk_errors():
            descriptor = hold(self.blob(digest))
            if descriptor is None:
                raise LoadFailed(f"blob {digest.short} is not there: {advice}")
            with open(descriptor, "rb", buffering=0) as file:
                state = state_of(os.fstat(descriptor))
                if self._verified.knows(digest, state):
                    return
                got = hashlib.file_digest(file, "sha256").digest()
                unchanged = state_of(os.fstat(descriptor)) == state
            if got != digest.value:
                self._put_aside(digest, state)
                raise LoadFailed(f"blob {digest.short} is damaged, its bytes are not those of its digest: {advice}")
        if unchanged:
            self._verified.add(digest, state)
            self._verified.save()

    def partial(self, digest: Digest) -> Path:
        """Where a download of the blob is kept until it is whole. What belongs to it has a name that begins so."""
        return self._layout.partial(digest)

    def publish_partial(self, digest: Digest, size: int, pins: Pins | None = None) -> None:
        """Make a whole download a blob. Nobody may hold an exclusive lock on its file.

        Raises `DigestMismatch`, or `BadManifest` when the digest is right and the size is not; the download is removed
        then, and has to begin anew.
        """
        path = self._layout.partial(digest)
        with disk_errors():
            descriptor = hold(path)
            if descriptor is None:
                raise BlobMissing(digest)
            with open(descriptor, "rb", buffering=0) as file:
                got = Digest(hashlib.file_digest(file, "sha256").digest())
                there = os.fstat(descriptor).st_size
                if got != digest or there != size:
                    path.unlink(missing_ok=True)
                    if got != digest:
                        raise DigestMismatch(digest, got)
                    raise BadManifest(f"blob {digest.short} has {there} bytes, not the {size} that were announced")
                failpoint("blob.fsync")
                os.fsync(descriptor)
                self._publish(path, descriptor, digest, pins)

    def _changing(self) -> AbstractContextManager[None]:
        """One at a time, of all processes."""
        return exclusive(self._layout.lock)

    def _publish(self, path: Path, descriptor: int, digest: Digest, pins: Pins | None) -> bool:
        """See `Publish`. `descriptor` is of the file at `path`, and has its shared lock."""
        with self._changing():
            self._condemned.discard(digest)
            if self._is_whole(digest, os.fstat(descriptor).st_size):
                if pins is not None:
                    pins.add(digest)
                path.unlink()
                return False
            failpoint("blob.rename")
            path.replace(self._layout.blob(digest))
            if pins is not None:
                pins.take(digest, os.dup(descriptor))
        failpoint("blob.renamed")
        sync_folder(self._layout.blobs)
        self._verified.add(digest, state_of(os.fstat(descriptor)))
        return True

    def _is_whole(self, digest: Digest, size: int) -> bool:
        """Whether the blob is there as far as can be told at a glance; one that was cut off is replaced."""
        try:
            return self.blob_size(digest) == size
        except BlobMissing:
            return False

    def _put_aside(self, digest: Digest, state: FileState) -> None:
        _log.error("blob %s is damaged and is put aside", digest)
        with suppress(OSError), self._changing():
            path = self.blob(digest)
            if state_of(path.stat())[0] == state[0]:
                path.replace(self._layout.damaged(digest))

    def _left(self, digests: set[Digest]) -> None:
        """Somebody let go of these blobs."""
