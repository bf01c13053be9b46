"""One blob on its way to a registry: an upload session, parts of it by PATCH, and a PUT that names the digest.

A registry has one of two manners. Either it takes the parts itself, one after the other, each to the URL that the reply
to the one before named. Or it answers a part with 307: then the part goes to the URL that it was redirected to, by PUT,
and several may be on their way at once (Ollama API, "Registry protocol").

After a failure the session is asked how far it came. One that does not know, or is gone, is begun anew, unless the blob
turns out to have arrived.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import anyio
import anyio.to_thread

from ..digest import Digest
from ..store import disk_errors
from .errors import RegistryError
from .http import RegistryClient, Reply
from .retry import Attempts
from .url import Url

__all__ = ["Upload", "parts_of"]

SMALLEST_PART: int = 100_000_000
"""Bytes that are sent with one request, unless the blob has fewer."""
_LARGEST_PART: Final = 1_000_000_000
_PIECE: Final = 256 * 1024
"""Bytes that are in memory at once, of each part."""
_MOST_AT_ONCE: Final = 16
_PARTS: Final = 16
_PROGRESS: Final = 1024 * 1024
"""Bytes more than ever before that make up for earlier failures."""
_COMMIT_SECONDS: Final = 600.0
"""A registry may read a whole blob again before it says that it took it."""
_TAKEN: Final = (200, 201, 202, 204)
_LOST: Final = (400, 404, 409, 410, 416)
"""What registries say of a session that they do not know, or that stands elsewhere."""


class _Lost(Exception):
    """The session cannot go on."""


class Upload:
    """`size` in bytes. Nothing is sent before `run`."""

    def __init__(
        self, client: RegistryClient, path: Path, digest: Digest, size: int, *, mount: str, retries: int
    ) -> None:
        """`mount`: a repository of the same registry that may have the blob; empty for none."""
        self.digest = digest
        self.size = size
        self._client = client
        self._path = path
        self._mount = mount
        self._retries = retries
        self._attempts = Attempts(retries)
        self._best = 0
        """How far it was when earlier failures were last made up for."""
        self._file = -1
        self._location = ""
        """Where the session goes on."""
        self._offset = 0
        """How far the session is."""
        self._redirected = False
        self._done: dict[int, int] = {}
        """Bytes sent of each part, by its start."""
        self._hashes: dict[int, bytes] = {}
        """MD5 of each redirected part, by its start."""
        self._shown = 0

    @property
    def sent(self) -> int:
        """Bytes, at most `size`. It does not go back where something has to be sent again."""
        self._shown = max(self._shown, min(self.size, sum(self._done.values())))
        return self._shown

    async def exists(self) -> bool:
        """Whether the registry has the blob. Raises `RegistryError`."""
        # The length in the reply is the blob's, though none of it follows.
        reply = await self._client.request(
            "HEAD", self._url(f"blobs/{self.digest}"), expect=(200, 404), limit=sys.maxsize
        )
        return reply.status == 200

    async def run(self) -> None:
        """Send it. Raises `RegistryError`."""
        with disk_errors():
            file = await anyio.to_thread.run_sync(partial(self._path.open, "rb"))
        with file:
            self._file = file.fileno()
            done = False
            while not done:
                try:
                    done = await self._mounted()
                    if not done:
                        await self._send()
                        await self._commit()
                        done = True
                except _Lost:
                    # The reply that was lost may have been the last one.
                    done = await self.exists()

    async def _mounted(self) -> bool:
        """Whether the registry took the blob from another repository; otherwise a session was begun."""
        query = f"?{urlencode({'mount': str(self.digest), 'from': self._mount})}" if self._mount else ""
        reply = await self._client.request("POST", self._url(f"blobs/uploads/{query}"), expect=_TAKEN, retry=True)
        if query and reply.status == 201:
            return True
        self._location, self._offset, self._redirected = "", 0, False
        self._done.clear()
        self._hashes.clear()
        self._go_on(reply)
        if not self._location:
            raise RegistryError("the registry does not say where to upload to")
        return False

    async def _send(self) -> None:
        """All parts."""
        slots = anyio.Semaphore(_MOST_AT_ONCE)
        # A task group would wrap what is raised inside it.
        failures: list[Exception] = []

        async def put(url: str, part: range) -> None:
            try:
                await self._put_part(url, part)
            except Exception as error:
                failures.append(error)
                group.cancel_scope.cancel()
            finally:
                slots.release()

        async with anyio.create_task_group() as group:
            try:
                for part in parts_of(self.size):
                    await slots.acquire()
                    target = await self._patch(part)
                    if target:
                        group.start_soon(put, target, part)
                    else:
                        slots.release()
            except Exception as error:
                failures.append(error)
                group.cancel_scope.cancel()
        if failures:
            raise failures[0]

    async def _patch(self, part: range) -> str:
        """Send a part; or where the registry wants it to be sent instead."""
        while self._redirected or self._offset < part.stop:
            start = part.start if self._redirected else self._offset
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(part.stop - start),
                "Content-Range": f"{start}-{part.stop - 1}",
                "X-Redirect-Uploads": "1",
            }
            try:
                reply = await self._client.request(
                    "PATCH",
                    self._location,
                    headers=headers,
                    content=partial(self._bytes, part, start),
                    expect=(*_TAKEN, 307),
                )
            except RegistryError as error:
                await self._failed(error, part)
                continue
            self._go_on(reply)
            self._reached(part.stop)
            if reply.status != 307:
                return ""
            self._redirected = True
            self._done[part.start] = 0
            if not reply.headers.get("location"):
                raise RegistryError("the registry redirects an upload, but does not say where to")
            return _joined(reply, reply.headers["location"])
        return ""

    async def _put_part(self, url: str, part: range) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(part))}
        content = partial(self._bytes, part, part.start)
        await self._client.request("PUT", url, headers=headers, content=content, expect=_TAKEN, retry=True)

    async def _commit(self) -> None:
        query = {"digest": str(self.digest)}
        if self._hashes:
            hashes = [self._hashes[start] for start in sorted(self._hashes)]
            query["etag"] = f"{hashlib.md5(b''.join(hashes), usedforsecurity=False).hexdigest()}-{len(hashes)}"
        while True:
            url = f"{self._location}{'&' if '?' in self._location else '?'}{urlencode(query)}"
            try:
                await self._client.request("PUT", url, expect=_TAKEN, timeout=_COMMIT_SECONDS)
                return
            except RegistryError as error:
                await self._failed(error, range(self.size, self.size))

    async def _failed(self, error: RegistryError, part: range) -> None:
        """Wait, and find out how much of `part` has arrived. Raises `_Lost`, and `error` where it was one too many."""
        if error.reply in _LOST:
            again = RegistryError(error.message, reply=error.reply, transient=True)
            await self._attempts.failed(again)
            raise _Lost from error
        await self._attempts.failed(error)
        if not self._redirected:
            await self._find_place(part)

    async def _find_place(self, part: range) -> None:
        while True:
            try:
                reply = await self._client.request("GET", self._location, expect=_TAKEN, retry=False)
                break
            except RegistryError as error:
                if not error.transient:
                    raise _Lost from error
                await self._attempts.failed(error)
        told = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", reply.headers.get("range", ""))
        # A session that has nothing says `0-0`, which is also what one byte would look like.
        offset = int(told[1]) + 1 if told and told[1] != "0" else 0
        if not max(part.start, 1) <= offset <= part.stop:
            raise _Lost
        self._go_on(reply)
        self._reached(offset)

    def _go_on(self, reply: Reply) -> None:
        """Take the session's next URL from a reply; the last one stays good where there is none."""
        location = reply.headers.get("docker-upload-location", "")
        if not location and reply.status != 307:
            location = reply.headers.get("location", "")
        if location:
            self._location = _joined(reply, location)

    def _reached(self, offset: int) -> None:
        self._offset = offset
        if offset > self._best and offset >= min(self._best + _PROGRESS, self.size):
            # Only then: a registry that took a byte at a time could keep a client for ever.
            self._best = offset
            self._attempts = Attempts(self._retries)

    async def _bytes(self, part: range, start: int) -> AsyncIterator[bytes]:
        """The rest of a part. Given anew for every time that it is sent."""
        hasher = hashlib.md5(usedforsecurity=False) if self._redirected else None

        def read(at: int) -> bytes:
            with disk_errors():
                data = os.pread(self._file, min(_PIECE, part.stop - at), at)
            if hasher is not None:
                hasher.update(data)
            return data

        while start < part.stop:
            self._done[part.start] = start - part.start
            data = await anyio.to_thread.run_sync(read, start)
            if not data:
                raise RegistryError(f"the blob {self.digest} became shorter while it was sent")
            yield data
            start += len(data)
        self._done[part.start] = len(part)
        if hasher is not None:
            self._hashes[part.start] = hasher.digest()

    def _url(self, path: str) -> str:
        return f"{self._client.base}/{path}"


def _joined(reply: Reply, location: str) -> str:
    return str(Url.parse(reply.url).join(location))


def parts_of(size: int) -> list[range]:
    """Bytes that are sent with one request each: about a sixteenth, but 100 MB to 1000 MB."""
    step = min(max(size // _PARTS, SMALLEST_PART), _LARGEST_PART)
    return [range(start, min(start + step, size)) for start in range(0, size, step)]
