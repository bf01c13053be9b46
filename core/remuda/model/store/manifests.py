"""The manifests of a store: found by name, read, replaced as a whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from ...failpoints import failpoint
from ..digest import Digest
from ..manifest import MAX_MANIFEST, BadManifest, Manifest, decode_manifest
from ..name import ModelName
from .files import create_file, make_folder, sync_folder, write_all
from .layout import Layout
from .verified import FileState, state_of

__all__ = ["Manifests", "StoredManifest"]

_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


class StoredManifest(Struct, frozen=True, kw_only=True):
    """A manifest as it is on the disk."""

    name: ModelName
    """With the casing that it is stored under."""
    data: bytes
    manifest: Manifest
    modified: float
    """POSIX time."""
    state: FileState

    @property
    def digest(self) -> str:
        """64 hex digits: the SHA-256 of its bytes."""
        return Digest.of(self.data).hex


class Manifests:
    """Those who write must keep others from writing at the same time."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def names(self) -> list[ModelName]:
        """Of all manifests, corrupt ones included; files and folders that make no name are passed over."""
        found: list[ModelName] = []
        for host in _folders(self._layout.manifests):
            for namespace in _folders(host.path):
                for model in _folders(namespace.path):
                    for tag in _entries(model.path):
                        name = self._layout.name_of(host.name, namespace.name, model.name, tag.name)
                        if name is not None and tag.is_file():
                            found.append(name)
        return sorted(found, key=lambda name: name.full)

    def state(self, name: ModelName) -> FileState | None:
        """Of the manifest with exactly this name; None if there is none."""
        try:
            return state_of(os.stat(self._layout.manifest(name)))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def read(self, name: ModelName) -> bytes | None:
        """The bytes of the manifest with exactly this name; None if there is none."""
        opened = self._read(name)
        return opened[0] if opened else None

    def load(self, name: ModelName) -> StoredManifest | None:
        """As `read`, decoded. Raises `BadManifest`."""
        opened = self._read(name)
        if opened is None:
            return None
        data, stat = opened
        try:
            manifest = decode_manifest(data, stored=True)
        except BadManifest as error:
            raise BadManifest(f"model '{name}' cannot be used, pull it or create it again: {error}") from None
        return StoredManifest(name=name, data=data, manifest=manifest, modified=stat.st_mtime, state=state_of(stat))

    def cased(self, name: ModelName) -> ModelName:
        """`name` with the casing of what is there: of the same model if there is one, else of each part by itself."""
        if self.state(name) is not None:
            return name
        names = self.names()
        for there in names:
            if there.key == name.key:
                return there
        return ModelName(
            host=_cased(name.host, (there.host for there in names)),
            namespace=_cased(name.namespace, (there.namespace for there in names)),
            model=_cased(name.model, (there.model for there in names)),
            tag=_cased(name.tag, (there.tag for there in names)),
        )

    def used(self, *, strict: bool = False) -> set[Digest]:
        """All digests that a manifest names. A corrupt manifest raises `BadManifest` if `strict`, else names none."""
        found: set[Digest] = set()
        for name in self.names():
            try:
                manifest = self.load(name)
            except BadManifest:
                if strict:
                    raise
                continue
            if manifest is not None:
                found.update(manifest.manifest.digests)
        return found

    def replace(self, name: ModelName, data: bytes) -> None:
        """Old or new, never anything between, whenever the machine stops. Raises `OSError`."""
        path, new = self._layout.manifest(name), self._layout.new_manifest()
        failpoint("manifest.write")
        make_folder(path.parent)
        descriptor = create_file(new)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
            failpoint("manifest.rename")
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            self.tidy(path.parent)
            raise
        finally:
            os.close(descriptor)
        failpoint("manifest.renamed")
        sync_folder(path.parent)

    def remove(self, name: ModelName) -> None:
        """Raises `OSError`."""
        path = self._layout.manifest(name)
        path.unlink()
        sync_folder(path.parent)
        self.tidy(path.parent)

    def tidy(self, folder: Path) -> None:
        """Remove the folder of a model, and those above it, as far as nothing is in them."""
        with suppress(OSError):
            while folder != self._layout.manifests:
                folder.rmdir()
                folder = folder.parent

    def _read(self, name: ModelName) -> tuple[bytes, os.stat_result] | None:
        try:
            with self._layout.manifest(name).open("rb") as file:
                return file.read(MAX_MANIFEST + 1), os.fstat(file.fileno())
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise


def _cased(part: str, there: Iterable[str]) -> str:
    found = {other for other in there if other.lower() == part.lower()}
    return part if part in found or not found else min(found)


def _entries(path: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folders(path: str | Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _entries(path) if entry.is_dir())
