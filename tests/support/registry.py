"""A registry on a real socket that fails on command, for tests of pull and push.

    with Registry() as registry:
        registry.add_model("library/tiny:latest", {MODEL: b"GGUF..."})
        registry.fail("GET blob", Fault(cut=1000), Fault(status=500))
        pull(registry.name("library/tiny:latest"), insecure=True)
        assert registry.count("GET blob") == 3

Every request has a *kind*, a method and a word: `GET manifest`, `PUT manifest`, `GET blob`, `HEAD blob`, `POST uploads`
(a new upload), `PATCH upload`, `PUT upload`, `GET upload`, `GET token`, `GET direct` and `HEAD direct` (bytes behind a
redirect), `PUT part` (the same for uploads), `GET other`. `fail(kind, *faults)` queues faults for the next requests of
a kind, one each; `always=True` lets the last one stay. What is not told to fail works as the protocol says.

- `registry.requests`: each request as a `Seen`, in the order of arrival; `seen(kind)`, `count(kind)`, `sent(kind)`
  (bytes of the replies' bodies), `received(kind)` (bytes of the requests' bodies); `await_request(kind, n)` blocks
  until the n-th has arrived, and `await_left(kind, n)` until the client of the n-th has left or was answered.
- `manifests["library/tiny:latest"]` and `blobs["sha256:..."]` (bytes, or a Path to them) are what it holds.
- `Registry(auth="token")` wants `Bearer` with a token from its own `/token`, which takes a signature or Basic (`user`,
  `password`); `auth="basic"` wants Basic itself. `token_uses` lets a token expire; `realm` names another place for
  tokens.
- `redirect_blobs = other.url`: `GET blob` answers 307 to `other.url/direct/<digest>`; let `other.blobs` be
  `registry.blobs`.
- `redirect_uploads = other.url`: `PATCH upload` answers 307 with the next `Docker-Upload-Location` and, as `Location`,
  a `other.url/part/...` which takes the part by PUT; let `other.uploads` be `registry.uploads`.
- `Registry(host="127.0.0.2")` is another host; `Registry(tls=folder)` has a certificate (`registry.certificate`).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from registry_data import CONFIG, MANIFEST, MODEL, Blob, Fault, Seen, Upload, digest_of
from registry_hostile import gzip_bomb, hostile_manifests, self_signed
from registry_server import Server

__all__ = [
    "CONFIG",
    "MANIFEST",
    "MODEL",
    "Fault",
    "Registry",
    "Seen",
    "Upload",
    "digest_of",
    "gzip_bomb",
    "hostile_manifests",
]


class Registry:
    user = "someone"
    password = "correct horse"

    def __init__(
        self, *, auth: Literal["", "token", "basic"] = "", host: str = "127.0.0.1", tls: Path | None = None
    ) -> None:
        self.auth = auth
        self.realm = ""
        """Where tokens are given out; empty for here."""
        self.token_uses: int | None = None
        """How many requests a token lasts."""
        self.tokens: dict[str, int] = {}
        """Uses left, by token."""
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, Blob] = {}
        self.links: defaultdict[str, set[str]] = defaultdict(set)
        """The digests that each repository has."""
        self.uploads: dict[str, Upload] = {}
        self.redirect_blobs = ""
        self.redirect_uploads = ""
        self.upload_header = "Location"
        """Which header tells the next URL of an upload."""
        self.relative = False
        """Locations without scheme and host."""
        self.can_mount = True
        self.keep = True
        """Keep what is uploaded; else only its size, as `manifests` are kept in any case."""
        self.forgets = False
        """An upload that was cut is gone; else what came counts, and `GET upload` and a 416 tell how much."""
        self.early = False
        """Refuse without reading the request's body, as servers written in Go do."""
        self.requests: list[Seen] = []
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self.changed = threading.Condition()
        self._faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self._always: dict[str, Fault] = {}
        context = None
        self.certificate: Path | None = None
        """Of `tls`: the file to trust (PEM)."""
        if tls:
            self.certificate, key = self_signed(host, tls)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, key)
        self._server = Server(self, host, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="test-registry")
        self.host = f"{host}:{self._server.server_port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.drop_connections()
        self._thread.join()
        self._server.server_close()
        if self.errors and error is None:
            raise self.errors[0]

    def name(self, name: str) -> str:
        """With this registry in front of it."""
        return f"{self.host}/{name}"

    # --- what it holds

    def add_blob(self, repository: str, data: Blob) -> str:
        """The digest."""
        digest = digest_of(data)
        self.blobs[digest] = data
        self.links[repository].add(digest)
        return digest

    def add_model(
        self, name: str, layers: Mapping[str, Blob] | Sequence[tuple[str, Blob]], config: bytes = b"{}"
    ) -> bytes:
        """`layers` as media type and bytes, in their order. The manifest's bytes, which is `manifests[name]`."""
        repository, _, _ = name.rpartition(":")
        pairs = list(layers.items()) if isinstance(layers, Mapping) else list(layers)

        def layer(media_type: str, data: Blob) -> dict[str, str | int]:
            size = len(data) if isinstance(data, bytes) else data.stat().st_size
            return {"mediaType": media_type, "digest": self.add_blob(repository, data), "size": size}

        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": layer(CONFIG, config),
            "layers": [layer(media_type, data) for media_type, data in pairs],
        }
        # Spaces, unlike what Remuda writes: a manifest must be kept as it came.
        return self.add_manifest(name, json.dumps(manifest, indent=3).encode())

    def add_manifest(self, name: str, data: bytes) -> bytes:
        """Whatever it is."""
        self.manifests[name] = data
        return data

    def has(self, name: str, digest: str) -> bool:
        """Whether the repository of that model has that blob."""
        return digest in self.links[name.rpartition(":")[0]]

    # --- what goes wrong

    def fail(self, kind: str, *faults: Fault, always: bool = False) -> None:
        """See above. Without faults: from now on nothing of that kind fails."""
        with self.changed:
            self._always.pop(kind, None)
            if not faults:
                self._faults.pop(kind, None)
                return
            if always:
                self._always[kind] = faults[-1]
                faults = faults[:-1]
            self._faults[kind] += faults

    # --- what was asked

    def seen(self, kind: str = "") -> list[Seen]:
        """Those of a kind, or all."""
        return [each for each in list(self.requests) if kind in {"", each.kind}]

    def count(self, kind: str = "") -> int:
        return len(self.seen(kind))

    def sent(self, kind: str = "") -> int:
        return sum(each.sent for each in self.seen(kind))

    def received(self, kind: str = "") -> int:
        return sum(each.received for each in self.seen(kind))

    def await_request(self, kind: str, number: int = 1, timeout: float = 10.0) -> Seen:
        """Blocks. Raises `TimeoutError`."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.count(kind) >= number, timeout):
                raise TimeoutError(f"{self.count(kind)} requests of the kind {kind!r} in {timeout} s")
        return self.seen(kind)[number - 1]

    def await_left(self, kind: str, number: int = 1, timeout: float = 10.0) -> Seen:
        """Blocks. Raises `TimeoutError`."""
        one = self.await_request(kind, number, timeout)
        with self.changed:
            if not self.changed.wait_for(lambda: one.done, timeout):
                raise TimeoutError(f"request {number} of the kind {kind!r} goes on after {timeout} s")
        return one

    # --- for the server

    def arrived(self, seen: Seen) -> Fault:
        """Note it; what shall go wrong with it."""
        with self.changed:
            self.requests.append(seen)
            self.changed.notify_all()
            queue = self._faults[seen.kind]
            return queue.pop(0) if queue else self._always.get(seen.kind, Fault())

    def ended(self, seen: Seen) -> None:
        with self.changed:
            seen.done = True
            self.changed.notify_all()
