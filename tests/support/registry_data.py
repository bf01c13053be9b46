"""What the registry of the tests (`registry`) speaks of: faults, requests, uploads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CONFIG", "MANIFEST", "MODEL", "Blob", "Fault", "Seen", "Upload", "digest_of"]

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
MODEL = "application/vnd.ollama.image.model"

Blob = bytes | Path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request. For a request that brings a body (PATCH and PUT), `cut`, `stall` and `trickle`
    are about that body, for any other about the reply's."""

    status: int = 0
    """Answer with this, and with `body`, instead of doing anything."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to the reply's, or in their place."""
    body: bytes | None = None
    """Instead of the true one."""
    redirect: str = ""
    """Answer 307 with this `Location`; `{path}` in it is the path asked for."""
    cut: int | None = None
    """Close the connection after so many bytes of the body; -1: before anything else."""
    stall: int | None = None
    """Neither send nor read after so many bytes of the body until `until` is set, the client leaves, or the end.
    That it left is seen only when all that it sent before fits into the sockets' buffers: some 100 KB do."""
    until: threading.Event | None = None
    trickle: float = 0.0
    """Seconds between pieces of 1 KiB."""
    corrupt: bool = False
    """Other bytes, as many."""
    extra: int = 0
    """So many more bytes are said in `Content-Length` than come; negative: so many fewer are said, and come."""
    ignore_range: bool = False
    endless: bool = False
    """The body never ends (chunked zeros)."""
    lost: bool = False
    """Do what was asked, but close the connection instead of saying so."""
    early: bool = False
    """Answer `status` before the request's body was read."""


@dataclass
class Seen:
    """A request. `query` holds the last value of each key; header names are lower case."""

    method: str
    kind: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0
    """Of the reply; 0 while there is none."""
    received: int = 0
    sent: int = 0
    done: bool = False


class Upload:
    """An upload session. Without `keep` only length and digest are known of what came."""

    def __init__(self, repository: str, *, keep: bool) -> None:
        self.repository = repository
        self.keep = keep
        self.data = bytearray()
        self.size = 0
        self.step = 0
        """Counts the requests: every one is given a URL of its own, and only the latest is good."""
        self.parts: dict[int, bytearray] = {}
        """By offset, of redirected uploads."""
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)
        if self.keep:
            self.data += data

    def join_parts(self) -> None:
        for _, part in sorted(self.parts.items()):
            self.write(bytes(part))
        self.parts.clear()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def digest_of(data: Blob) -> str:
    if isinstance(data, bytes):
        return f"sha256:{hashlib.sha256(data).hexdigest()}"
    with data.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
