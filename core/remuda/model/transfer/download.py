"""A blob on its way from a registry to the store: once for all who wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.to_thread import run_sync

from ...errors import Draining, RemudaError
from ..digest import Digest
from ..store import BlobMissing, DigestMismatch, Pins, Store
from .errors import RegistryError
from .fetch import Fetch
from .http import RegistryClient
from .parts import Bounds, PartialFile
from .policy import TransferPolicy

__all__ = ["Download", "Downloads"]

BOUNDS = Bounds()
"""Of the parts of all downloads."""
_log = logging.getLogger("remuda.registry")
_PROGRESS_SECONDS: Final = 0.06
_CLAIM_SECONDS: Final = 0.2


class Downloads:
    """Those of a server that are under way."""

    def __init__(self, store: Store, policy: TransferPolicy) -> None:
        self._store = store
        self._policy = policy
        self._running: dict[tuple[Digest, int], Download] = {}

    @asynccontextmanager
    async def join(self, client: RegistryClient, digest: Digest, size: int) -> AsyncGenerator[Download, None]:
        """The download of that blob, which is begun if there is none.

        When it is done, the blob is there, and stays until the context ends. Whoever leaves last stops it.
        """
        key = digest, size
        download = self._running.get(key)
        if download is None or download.failed:
            download = self._running[key] = Download(self._store, self._policy, client.again(), digest, size)
        download.waiting += 1
        try:
            yield download
        finally:
            download.waiting -= 1
            if not download.waiting:
                if self._running.get(key) is download:
                    del self._running[key]
                await download.stop()

    async def close(self) -> None:
        """Stop them all: who waits for one is told that the server shuts down."""
        for download in list(self._running.values()):
            await download.stop()


class Download:
    """One blob, fetched by a task of its own, so that nobody's leaving disturbs the others."""

    def __init__(self, store: Store, policy: TransferPolicy, client: RegistryClient, digest: Digest, size: int) -> None:
        self.waiting = 0
        """How many wait for it."""
        self.base = client.base
        self._store, self._policy, self._client = store, policy, client
        self._digest, self._size = digest, size
        self._fetch: Fetch | None = None
        self._error: Exception | None = None
        self._begun = anyio.Event()
        self._done = anyio.Event()
        self._scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._run())

    @property
    def failed(self) -> bool:
        return self._error is not None

    @property
    def completed(self) -> int:
        """Bytes that have come."""
        return self._fetch.completed if self._fetch is not None else 0

    async def progress(self) -> AsyncGenerator[int, None]:
        """The bytes that have come: at once, whenever there are more but not all the time, and all in the end.

        Never fewer than before, also where a registry has to be asked for everything again.
        Raises what the download failed with.
        """
        with anyio.move_on_after(_PROGRESS_SECONDS):
            # What an earlier download left is shown from the start.
            await self._begun.wait()
        last = self.completed
        yield last
        while not self._done.is_set():
            with anyio.move_on_after(_PROGRESS_SECONDS):
                await self._done.wait()
            if last < self.completed < self._size:
                last = self.completed
                yield last
        if self._error is not None:
            raise self._error
        yield self._size

    async def stop(self) -> None:
        """What has come is kept."""
        self._scope.cancel()
        # The task ends by itself now, whether or not whoever waits here is cancelled.
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        pins = self._store.pin()
        try:
            with self._scope:
                try:
                    await self._work(pins)
                except RemudaError as error:
                    self._error = error
                except Exception as error:
                    _log.exception("the download of blob %s failed", self._digest)
                    self._error = error
                self._end()
                await anyio.sleep_forever()
        finally:
            if not self._done.is_set():
                self._error = Draining()
                self._end()
            await run_sync(pins.close)

    def _end(self) -> None:
        self._begun.set()
        self._done.set()

    async def _work(self, pins: Pins) -> None:
        while (file := await self._claim()) is None:
            with suppress(BlobMissing):  # it was removed as soon as it was there: then it is fetched here
                await run_sync(pins.add, self._digest)
                return
        try:
            async with self._client as client:
                self._fetch = Fetch(client, self._policy, self._digest, self._size, file)
                self._begun.set()
                await self._fetch.run()
            await run_sync(self._publish, file, pins)
        finally:
            # What nothing came of need not be remembered, if only because its size may be a lie.
            begun = not file.parts or any(part.completed for part in file.parts)
            with anyio.CancelScope(shield=True):
                await run_sync(file.close if begun else file.discard)

    async def _claim(self) -> PartialFile | None:
        """The file to write to; None if somebody else, in another process perhaps, has finished meanwhile."""
        path = self._store.partial(self._digest)
        while True:
            file = await run_sync(PartialFile.claim, path, self._size, BOUNDS)
            if await run_sync(self._store.has, self._digest):
                if file is not None:
                    await run_sync(file.discard)
                return None
            if file is not None:
                return file
            await anyio.sleep(_CLAIM_SECONDS)

    def _publish(self, file: PartialFile, pins: Pins) -> None:
        file.share()
        try:
            self._store.publish_partial(self._digest, self._size, pins)
        except DigestMismatch as error:
            file.forget()
            raise RegistryError(
                f"digest mismatch, file must be downloaded again: want {error.expected}, got {error.got}"
            ) from None
        except BlobMissing:
            # Another process took it for whole as well, and was first.
            pins.add(self._digest)
        file.forget()
