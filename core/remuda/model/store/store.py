"""Models on disk: manifests and the blobs they name, laid out so that Ollama and Remuda can use the same folder.

A manifest is only ever written after the blobs it names, and a blob is only ever removed after the last manifest that
named it, so that a model is there as a whole or not at all, whenever a process or the machine stops. What a stopped
process leaves behind is removed by the next one's `sweep`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ...errors import ModelNotFound
from ..digest import Digest
from ..manifest import BadManifest, decode_manifest
from ..name import ModelName
from .blobs import Blobs
from .errors import BlobMissing, disk_errors
from .files import remove_unless_held, sync_folder
from .manifests import Manifests, StoredManifest
from .verified import FileState

__all__ = ["Store"]

_log = logging.getLogger("remuda.store")
_HOUR = 3600.0
_DAY = 24 * _HOUR


class Store(Blobs):
    """All methods block, and may be called from any thread. Other processes may use the same folder.

    They raise `RemudaError` for what the file system refuses.
    """

    def __init__(self, root: Path, *, prune: bool = True) -> None:
        """Nothing is made before something is written. Without `prune` nothing that was a blob is ever removed."""
        super().__init__(root)
        self.prune = prune
        self._manifests = Manifests(self._layout)

    def names(self) -> list[ModelName]:
        """Of all models, those with a corrupt manifest included."""
        with disk_errors():
            return self._manifests.names()

    def find(self, name: ModelName) -> StoredManifest | None:
        """Without regard to case. Raises `BadManifest`."""
        with disk_errors():
            return self._manifests.load(name) or self._manifests.load(self._manifests.cased(name))

    def state(self, name: ModelName) -> FileState | None:
        """Of the manifest of exactly this name: while it stays the same, so does the manifest. None without one."""
        with disk_errors():
            return self._manifests.state(name)

    def cased(self, name: ModelName) -> ModelName:
        """`name` in the case that this model is stored in, or that its parts have elsewhere in the store."""
        with disk_errors():
            return self._manifests.cased(name)

    def write(self, name: ModelName, data: bytes) -> list[Digest]:
        """Give a model this manifest; returns the blobs that were removed because nothing names them any more.

        The caller has pinned the new manifest's blobs. Raises `BadManifest`, and `BlobMissing` if one is not there.
        """
        manifest = decode_manifest(data)
        with disk_errors(), self._changing():
            for digest in manifest.digests:
                if not self.has(digest):
                    raise BlobMissing(digest)
            sync_folder(self._layout.blobs)
            removed = self._replace(self._manifests.cased(name), data)
        self._verified.save()
        return removed

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Raises `ModelNotFound`."""
        with disk_errors(), self._changing_of(source):
            there = self._manifests.cased(source)
            data = self._manifests.read(there)
            if data is None:
                raise ModelNotFound(str(source))
            destination = self._manifests.cased(destination)
            if destination != there:
                self._replace(destination, data)

    def delete(self, name: ModelName) -> None:
        """Raises `ModelNotFound`."""
        with disk_errors(), self._changing_of(name):
            there = self._manifests.cased(name)
            if self._manifests.state(there) is None:
                raise ModelNotFound(str(name))
            named = self._named_by(there)
            self._manifests.remove(there)
            self._drop(named)

    def sweep(self) -> None:
        """What a server does when it starts: old names of blobs are made new ones, and what nobody needs is removed.

        That is blobs without a model after an hour, unfinished files after a day, and empty folders; none of it if a
        manifest is corrupt, because nobody knows then what it needs. Faults are logged.
        """
        if not (self._layout.blobs.is_dir() or self._layout.manifests.is_dir()):
            return
        try:
            with self._changing():
                self._rename_old()
                if self.prune:
                    self._sweep()
        except (OSError, BadManifest) as error:
            _log.warning("the models' folder was not cleaned up: %s", _reason(error))

    def _changing_of(self, name: ModelName) -> AbstractContextManager[None]:
        """As `_changing`, for a model that must be there: what is asked in vain makes no files."""
        if not self._layout.manifests.is_dir():
            raise ModelNotFound(str(name))
        return self._changing()

    def _replace(self, name: ModelName, data: bytes) -> list[Digest]:
        before = self._named_by(name)
        self._manifests.replace(name, data)
        return self._drop(before)

    def _named_by(self, name: ModelName) -> list[Digest]:
        try:
            stored = self._manifests.load(name)
        except BadManifest:
            return []
        return stored.manifest.digests if stored is not None else []

    def _drop(self, digests: Iterable[Digest]) -> list[Digest]:
        """Remove those that no manifest names; those that somebody holds are remembered until they are let go of."""
        digests = list(digests)
        if not self.prune or not digests:
            return []
        try:
            used = self._manifests.used()
        except OSError as error:
            _log.warning("blobs that may not be needed any more stay: %s", _reason(error))
            return []
        unused = [digest for digest in digests if digest not in used]
        self._condemned.difference_update(digests)
        self._condemned.update(unused)  # before the attempt: who lets go after it must find them there
        removed = [digest for digest in unused if remove_unless_held(self.blob(digest))]
        self._condemned.difference_update(removed)
        return removed

    def _left(self, digests: set[Digest]) -> None:
        if digests & self._condemned:
            try:
                with self._changing():
                    self._drop(digests & self._condemned)
            except OSError as error:
                _log.warning("blobs that nobody needs any more stay: %s", _reason(error))

    def _rename_old(self) -> None:
        for path in list(self._layout.blobs.iterdir()) if self._layout.blobs.is_dir() else ():
            digest = self._layout.digest_of(path)
            if digest is None or path == self._layout.blob(digest):
                continue
            if self._layout.blob(digest).exists():
                remove_unless_held(path)
            else:
                path.rename(self._layout.blob(digest))

    def _sweep(self) -> None:
        used = self._manifests.used(strict=True)
        now = time.time()
        for path in list(self._layout.blobs.iterdir()) if self._layout.blobs.is_dir() else ():
            digest = self._layout.digest_of(path)
            if digest is not None and digest not in used:
                _remove_older(path, now - _HOUR)
            elif digest is None and self._layout.is_leftover(path):
                _remove_older(path, now - _DAY)
        for folder in (self._layout.root, self._layout.manifests):
            for path in list(folder.iterdir()) if folder.is_dir() else ():
                if self._layout.is_new(path):
                    _remove_older(path, now - _DAY)
        for depth in ("*/*/*", "*/*", "*"):
            for folder in self._layout.manifests.glob(depth):
                with suppress(OSError):
                    folder.rmdir()


def _remove_older(path: Path, moment: float) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < moment:
            remove_unless_held(path)


def _reason(error: Exception) -> str:
    return error.strerror or "the file system refused" if isinstance(error, OSError) else str(error)
