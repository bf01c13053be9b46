"""Where things lie in a store (Ollama API, "Layout"). The only module that makes a path of a digest or a name.

    blobs/sha256-<64 hex>               a blob
    blobs/sha256:<64 hex>               a blob as older versions named it
    blobs/sha256-<64 hex>-partial...    a download, and how far it is
    blobs/sha256-<64 hex>-damaged       was a blob, but its bytes changed
    blobs/sha256-tmp-<random>           a blob being written
    manifests/<host>/<namespace>/<model>/<tag>
    manifests/.tmp-<random>             a manifest being written: not as deep as a manifest, so nobody takes it for one
    remuda.lock                         locked by whoever changes manifests or removes blobs
    remuda-verified.json                which states of which blobs are known to be good
    .tmp-<random>                       the same being written

Everything in `blobs` that is no blob has a name that Ollama removes when it cleans up.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from ...errors import BadRequest
from ..digest import Digest, parse_digest
from ..name import ModelName, parse_name

__all__ = ["TEMPORARY", "Layout"]

_DAMAGED: Final = "-damaged"
_PARTIAL: Final = "-partial"
TEMPORARY: Final = ".tmp-"
"""How files outside of `blobs` begin while they are being written."""


class Layout:
    """The paths of one store. Nothing here touches a disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self.manifests = root / "manifests"
        self.lock = root / "remuda.lock"
        self.verified = root / "remuda-verified.json"

    def blob(self, digest: Digest) -> Path:
        return self.blobs / f"sha256-{digest.hex}"

    def old_blob(self, digest: Digest) -> Path:
        return self.blobs / f"sha256:{digest.hex}"

    def partial(self, digest: Digest) -> Path:
        return self.blobs / f"sha256-{digest.hex}{_PARTIAL}"

    def damaged(self, digest: Digest) -> Path:
        return self.blobs / f"sha256-{digest.hex}{_DAMAGED}"

    def new_blob(self) -> Path:
        """A path that nobody else has, for a blob being written."""
        return self.blobs / f"sha256-tmp-{secrets.token_hex(12)}"

    def digest_of(self, path: Path) -> Digest | None:
        """Of a blob by its path, under the new name or the old one; None for what is not called like a blob."""
        try:
            digest = parse_digest(path.name)
        except BadRequest:
            return None
        return digest if path.name in {self.blob(digest).name, self.old_blob(digest).name} else None

    def is_leftover(self, path: Path) -> bool:
        """Whether the file in `blobs` is something on its way to be a blob, or that was one."""
        return path.name.startswith(("sha256-", "sha256:")) and self.digest_of(path) is None

    def manifest(self, name: ModelName) -> Path:
        parts = (name.host, name.namespace, name.model, name.tag)
        if any("/" in part or part in {"", ".", ".."} for part in parts):
            raise BadRequest("invalid model name")  # none that was parsed comes here, whoever made this one
        return self.manifests.joinpath(*parts)

    def new_manifest(self) -> Path:
        return self.manifests / f"{TEMPORARY}{secrets.token_hex(12)}"

    def is_new(self, path: Path) -> bool:
        """Whether the file, outside of `blobs`, is one that is being written."""
        return path.name.startswith(TEMPORARY)

    def name_of(self, host: str, namespace: str, model: str, tag: str) -> ModelName | None:
        """The name of a manifest by the folders it lies in; None if they make none."""
        name = ModelName(model=model, tag=tag, namespace=namespace, host=host)
        try:
            return name if parse_name(name.full) == name else None
        except BadRequest:
            return None
