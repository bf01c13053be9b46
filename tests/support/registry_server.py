"""What the registry of the tests (`registry`) answers where it is not told to fail."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from registry_data import MANIFEST, Blob, Upload
from registry_http import PIECE, Cut, FaultyHandler, FaultyServer

if TYPE_CHECKING:
    from registry import Registry

__all__ = ["Server"]

_ROUTES = (
    ("manifest", re.compile(r"/v2/(?P<repo>.+)/manifests/(?P<tag>[^/]+)")),
    ("uploads", re.compile(r"/v2/(?P<repo>.+)/blobs/uploads/")),
    ("upload", re.compile(r"/v2/(?P<repo>.+)/blobs/uploads/(?P<id>[^/]+)")),
    ("blob", re.compile(r"/v2/(?P<repo>.+)/blobs/(?P<digest>[^/]+)")),
    ("direct", re.compile(r"/direct/(?P<digest>[^/]+)")),
    ("part", re.compile(r"/part/(?P<id>[^/]+)/(?P<start>\d+)")),
    ("token", re.compile(r"/token")),
)
_EMPTY_HASH = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()


class Server(FaultyServer):
    def __init__(self, registry: Registry, host: str, context: ssl.SSLContext | None) -> None:
        super().__init__(registry, host, context, _Handler)


class _Handler(FaultyHandler):
    def word(self, path: str) -> tuple[str, dict[str, str]]:
        found = ((word, route.fullmatch(path)) for word, route in _ROUTES)
        return next(((word, match.groupdict()) for word, match in found if match), ("other", {}))

    def answer(self, word: str, parts: dict[str, str]) -> None:
        if word in {"direct", "part", "token"} or self._allowed(parts.get("repo", "")):
            getattr(self, f"_{self.command.lower()}_{word}", self._unknown)(**parts)

    def _unknown(self, **_: str) -> None:
        if self.seen.path == "/v2/":
            self.reply(200, b"{}")
        else:
            self.refuse(404, "UNKNOWN")

    # --- who asks

    def _allowed(self, repository: str) -> bool:
        """Otherwise the answer was given."""
        registry, told = self.registry, self.seen.headers.get("authorization", "")
        if not registry.auth:
            return True
        if registry.auth == "basic":
            if self._is_basic(told):
                return True
            self.refuse(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="here"'})
            return False
        kind, _, token = told.partition(" ")
        uses = registry.tokens.get(token, 0)
        if kind == "Bearer" and uses:
            registry.tokens[token] = uses - 1
            return True
        realm = registry.realm or f"{registry.url}/token"
        challenge = f'Bearer realm="{realm}",service="here",scope="repository:{repository}:pull,push"'
        self.refuse(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        return False

    def _is_basic(self, told: str) -> bool:
        pair = f"{self.registry.user}:{self.registry.password}".encode()
        return told == f"Basic {base64.b64encode(pair).decode()}"

    def _get_token(self) -> None:
        told = self.seen.headers.get("authorization", "")
        if not (self._is_basic(told) or self._is_signed(told)):
            return self.refuse(401, "DENIED")
        token = uuid.uuid4().hex
        self.registry.tokens[token] = 10**9 if self.registry.token_uses is None else self.registry.token_uses
        return self.reply(200, json.dumps({"token": token}).encode())

    def _is_signed(self, told: str) -> bool:
        key, _, signature = told.partition(":")
        text = f"GET,{self.registry.url}{self.path},{_EMPTY_HASH}"
        try:
            public = load_ssh_public_key(f"ssh-ed25519 {key}".encode())
            assert isinstance(public, Ed25519PublicKey)
            public.verify(base64.b64decode(signature), text.encode())
        except (ValueError, InvalidSignature):
            return False
        return True

    # --- manifests and blobs

    def _get_manifest(self, repo: str, tag: str) -> None:
        data = self.registry.manifests.get(f"{repo}:{tag}")
        if data is None:
            return self.refuse(404, "MANIFEST_UNKNOWN")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return self.reply(200, data, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest})

    _head_manifest = _get_manifest

    def _put_manifest(self, repo: str, tag: str) -> None:
        data = self.read()
        layers = json.loads(data)
        wanted = {layer["digest"] for layer in (*layers["layers"], layers["config"])}
        if self.seen.headers.get("content-type") != MANIFEST or not wanted <= self.registry.links[repo]:
            return self.refuse(400, "MANIFEST_BLOB_UNKNOWN")
        self.registry.add_manifest(f"{repo}:{tag}", data)
        return self.reply(201)

    def _get_blob(self, repo: str, digest: str) -> None:
        if digest not in self.registry.links[repo]:
            return self.refuse(404, "BLOB_UNKNOWN")
        if self.registry.redirect_blobs and self.command == "GET":
            return self.reply(307, b"", {"Location": f"{self.registry.redirect_blobs}/direct/{digest}"})
        return self._bytes(self.registry.blobs[digest])

    _head_blob = _get_blob

    def _get_direct(self, digest: str) -> None:
        if digest not in self.registry.blobs or "authorization" in self.seen.headers:
            return self.refuse(403, "DENIED")
        return self._bytes(self.registry.blobs[digest])

    _head_direct = _get_direct

    def _bytes(self, blob: Blob) -> None:
        size = len(blob) if isinstance(blob, bytes) else blob.stat().st_size
        first, last, status = 0, size - 1, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.seen.headers.get("range", ""))
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if asked and not self.fault.ignore_range:
            first, last, status = int(asked[1]), min(int(asked[2] or size - 1), size - 1), 206
            if first > last:
                return self.refuse(416, "RANGE_INVALID", {"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        if self.fault.body is not None or self.fault.endless:
            return self.reply(status, b"", headers)
        self.head(status, last - first + 1, headers)
        if self.command != "HEAD":
            with _opened(blob) as file:
                self.send(self._slices(file, first, last + 1 + min(self.fault.extra, 0)))
        return None

    def _slices(self, file: BinaryIO, first: int, end: int) -> Iterator[bytes]:
        file.seek(first)
        while first < end and (data := file.read(min(PIECE, end - first))):
            first += len(data)
            yield bytes(byte ^ 0x55 for byte in data) if self.fault.corrupt else data

    # --- uploads

    def _post_uploads(self, repo: str) -> None:
        registry, query = self.registry, self.seen.query
        digest, source = query.get("mount", ""), query.get("from", "")
        if digest and registry.can_mount and digest in registry.links[source]:
            registry.links[repo].add(digest)
            return self.reply(201, b"", {"Location": self._here(f"/v2/{repo}/blobs/{digest}")})
        name = uuid.uuid4().hex
        registry.uploads[name] = upload = Upload(repo, keep=registry.keep)
        return self.reply(202, b"", self._next(name, upload))

    def _next(self, name: str, upload: Upload) -> dict[str, str]:
        upload.step += 1
        url = self._here(f"/v2/{upload.repository}/blobs/uploads/{name}?state={upload.step}")
        return {self.registry.upload_header: url, "Range": f"0-{max(upload.size - 1, 0)}"}

    def _here(self, path: str) -> str:
        return path if self.registry.relative else f"{self.registry.url}{path}"

    def _upload(self, name: str, *, stale: bool = False) -> Upload | None:
        """None: the answer was given."""
        upload = self.registry.uploads.get(name)
        if upload is None:
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
        elif not stale and self.seen.query.get("state") != str(upload.step):
            self.refuse(400, "BLOB_UPLOAD_INVALID")
            return None
        return upload

    def _get_upload(self, repo: str, id: str) -> None:
        if (upload := self._upload(id, stale=True)) is not None:
            self.reply(204, b"", self._next(id, upload))

    def _patch_upload(self, repo: str, id: str) -> None:
        upload = self._upload(id)
        if upload is None:
            return None
        told = re.fullmatch(r"(\d+)-(\d+)", self.seen.headers.get("content-range", ""))
        start = int(told[1]) if told else upload.size
        if self.registry.redirect_uploads and self.seen.headers.get("x-redirect-uploads") == "1":
            part = {"Location": f"{self.registry.redirect_uploads}/part/{id}/{start}"}
            upload.parts[start] = bytearray()
            following = self._next(id, upload)
            return self.reply(307, b"", {"Docker-Upload-Location": following[self.registry.upload_header]} | part)
        if start != upload.size:
            return self.refuse(416, "RANGE_INVALID", self._next(id, upload))
        self._append(id, upload)
        return self.reply(202, b"", self._next(id, upload))

    def _append(self, name: str, upload: Upload) -> None:
        try:
            for piece in self.pieces():
                upload.write(piece)
        except (Cut, OSError):
            if self.registry.forgets:
                self.registry.uploads.pop(name, None)
            raise

    def _put_part(self, id: str, start: str) -> None:
        upload = self.registry.uploads.get(id)
        if upload is None or int(start) not in upload.parts or "authorization" in self.seen.headers:
            return self.refuse(403, "DENIED")
        data = bytearray()
        for piece in self.pieces():
            data += piece
        upload.parts[int(start)] = data
        return self.reply(200)

    def _put_upload(self, repo: str, id: str) -> None:
        upload = self._upload(id)
        if upload is None:
            return None
        self._append(id, upload)
        upload.join_parts()
        del self.registry.uploads[id]
        if upload.digest != self.seen.query.get("digest"):
            return self.refuse(400, "DIGEST_INVALID")
        if upload.keep:
            self.registry.blobs[upload.digest] = bytes(upload.data)
        self.registry.links[repo].add(upload.digest)
        return self.reply(201, b"", {"Location": self._here(f"/v2/{repo}/blobs/{upload.digest}")})


@contextlib.contextmanager
def _opened(blob: Blob) -> Iterator[BinaryIO]:
    with blob.open("rb") if isinstance(blob, Path) else io.BytesIO(blob) as file:
        yield file
