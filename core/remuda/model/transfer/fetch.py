"""The parts of one blob, fetched side by side until none is missing.

The registry usually redirects to a place that needs no login; it is asked once, and all parts come from there. Every
byte is asked for once: a part whose connection was cut goes on where it was.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio
from anyio.to_thread import run_sync

from ...errors import RemudaError
from ..digest import Digest
from .errors import RegistryError
from .http import RegistryClient, Streamed
from .parts import Part, PartialFile
from .policy import TransferPolicy
from .retry import Attempts

__all__ = ["Fetch"]

_log = logging.getLogger("remuda.registry")
SAVE_SECONDS: float = 1.0
"""Between two notes of how far the parts are."""
_WORKERS: Final = 16
_BUFFER: Final = 1024 * 1024
_PER_FAILURE: Final = 16 * 1024
"""Bytes that a connection must have brought for its failure not to count."""
_SLOWEST: Final = 1024
"""Bytes per second: a part that comes slower than this is given up in the end."""
_PATIENCE: Final = 600.0
_EXPIRED: Final = (400, 401, 403, 404, 410)
"""What a place that was redirected to answers when its address is no longer good."""
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Fetch:
    def __init__(self, client: RegistryClient, policy: TransferPolicy, digest: Digest, size: int, file: PartialFile):
        self._client = client
        self._policy = policy
        self._digest = digest
        self._size = size
        self._file = file
        self._url = f"{client.base}/blobs/{digest}"
        self._direct = ""
        self._asking = False
        self._answered = anyio.Event()
        self._buffered: dict[int, int] = {}

    @property
    def completed(self) -> int:
        """Bytes that are there. Falls when a registry must be asked for all of them again."""
        return sum(part.completed for part in self._file.parts) + sum(self._buffered.values())

    async def run(self) -> None:
        """Until all bytes are in the file. Raises `RemudaError`; what has come is noted in any case."""
        try:
            await self._fetch_all()
        except _RangeIgnored:
            await run_sync(self._file.restart)
            await self._fetch_all()

    async def _fetch_all(self) -> None:
        failed: list[RemudaError] = []
        missing = iter([part for part in self._file.parts if part.completed < part.size])
        try:
            async with anyio.create_task_group() as saving:
                saving.start_soon(self._save_regularly)
                async with anyio.create_task_group() as working:
                    for _ in range(min(_WORKERS, len(self._file.parts))):
                        working.start_soon(self._work, missing, failed, working.cancel_scope)
                saving.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._save()
        if failed:
            raise failed[0]

    async def _work(self, missing: Iterator[Part], failed: list[RemudaError], scope: anyio.CancelScope) -> None:
        try:
            for part in missing:
                await self._fetch_part(part)
        except RemudaError as error:
            failed.append(error)
            scope.cancel()

    async def _save_regularly(self) -> None:
        while True:
            await anyio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        try:
            await run_sync(self._file.save)
        except RemudaError as error:
            # A blob can be fetched without; only going on later would begin further back.
            _log.warning("how far blob %s is could not be noted: %s", self._digest, error)

    async def _fetch_part(self, part: Part) -> None:
        attempts = Attempts(self._policy.retries)
        try:
            with anyio.fail_after(_PATIENCE + part.size / _SLOWEST):
                while part.completed < part.size:
                    before = part.completed
                    try:
                        await self._fetch_once(part)
                    except RegistryError as error:
                        if part.completed > before:
                            attempts.progressed((part.completed - before) // _PER_FAILURE)
                        await attempts.failed(error)
        except TimeoutError:
            raise RegistryError(f"blob {self._digest.short} comes too slowly; what has come is kept") from None

    async def _fetch_once(self, part: Part) -> None:
        first, last = part.position, part.end - 1
        whole = part.size == self._size
        headers = {} if whole and not first else {"Range": f"bytes={first}-{last}"}
        async with self._reply(headers) as reply:
            if reply.status == 206:
                self._check_range(reply, first)
            elif not whole:
                raise _RangeIgnored(f"the registry only sends blob {self._digest.short} as a whole")
            else:
                self._check_size(reply.length)
                part.completed = 0
            await self._receive(reply, part)

    async def _receive(self, reply: Streamed, part: Part) -> None:
        buffer = bytearray()
        try:
            async with aclosing(reply.pieces()) as pieces:
                async for piece in pieces:
                    buffer += piece
                    self._buffered[part.n] = len(buffer)
                    if part.position + len(buffer) >= part.end:
                        return
                    if len(buffer) >= _BUFFER:
                        await self._flush(part, buffer)
            raise RegistryError(f"{reply.url.authority} sent less than it was asked for", transient=True)
        finally:
            with anyio.CancelScope(shield=True):
                await self._flush(part, buffer)

    async def _flush(self, part: Part, buffer: bytearray) -> None:
        data = bytes(buffer[: part.size - part.completed])
        buffer.clear()
        if data:
            await run_sync(self._file.write, part, data)
        self._buffered.pop(part.n, None)

    @asynccontextmanager
    async def _reply(self, headers: dict[str, str]) -> AsyncGenerator[Streamed, None]:
        """From where the bytes come. The first request finds out where that is, and the others wait for it."""
        headers = {"Accept": "*/*", **headers}
        if self._asking:
            await self._answered.wait()
        self._asking = True
        direct = self._direct
        try:
            async with self._client.stream("GET", direct or self._url, headers=headers, expect=(200, 206)) as reply:
                if not direct and reply.url.origin != self._client.origin:
                    self._direct = str(reply.url)
                self._answered.set()
                yield reply
        except RegistryError as error:
            if direct and error.reply in _EXPIRED:
                if self._direct == direct:
                    self._direct = ""
                error.transient = True
            raise
        finally:
            self._answered.set()

    def _check_range(self, reply: Streamed, first: int) -> None:
        found = _RANGE.fullmatch(reply.headers.get("content-range", ""))
        if found is None or int(found[1]) != first:
            raise RegistryError(f"{reply.url.authority} sent other bytes than it was asked for")
        if found[3] != "*":
            self._check_size(int(found[3]))

    def _check_size(self, size: int | None) -> None:
        if size is not None and size != self._size:
            raise RegistryError(
                f"blob {self._digest.short} has {size} bytes in the registry, and {self._size} in the manifest"
            )


class _RangeIgnored(RegistryError):
    """The registry sent all of a blob when it was asked for a part."""
