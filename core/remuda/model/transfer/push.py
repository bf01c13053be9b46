"""Sending a model to a registry (Ollama API, "Registry protocol" and section 1.12).

The blobs go first, one after the other, and the manifest last: a registry never has a manifest whose blobs it lacks.
Every blob is checked against its digest before it is sent, so that one that decayed on this disk does not spread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio
import anyio.to_thread

from ...errors import BadRequest, ModelNotFound
from ...wire import ProgressResponse
from ..manifest import MANIFEST, BadManifest, Layer
from ..name import ModelName, parse_name
from ..store import BlobMissing, Store, StoredManifest, incomplete
from .http import RegistryClient
from .policy import TransferPolicy
from .upload import Upload

__all__ = ["push"]

_TICK: Final = 0.06
"""Seconds between two lines of progress."""


async def push(
    store: Store, policy: TransferPolicy, name: ModelName, *, insecure: bool
) -> AsyncGenerator[ProgressResponse, None]:
    """Send `name` to the registry that it names. Closing the generator stops it.

    Raises `BadRequest` and `Forbidden` for a registry that may not be named, `ModelNotFound`, `BadManifest`,
    `LoadFailed` for a blob that is missing or decayed, and `RegistryError`.
    """
    client = RegistryClient(name, policy, insecure=insecure)
    yield ProgressResponse(status="retrieving manifest")
    try:
        stored = await anyio.to_thread.run_sync(store.find, name)
        if stored is None:
            raise ModelNotFound(str(name))
    except (ModelNotFound, BadManifest):
        yield ProgressResponse(status="couldn't retrieve manifest")
        raise
    async with client, _pinned(store, stored):
        for layer in _once(stored):
            upload = await anyio.to_thread.run_sync(_upload, store, client, policy, layer, name)
            async with aclosing(_pushed(store, upload)) as events:
                async for event in events:
                    yield event
        yield ProgressResponse(status="pushing manifest")
        await client.request(
            "PUT",
            f"{client.base}/manifests/{name.tag}",
            headers={"Content-Type": MANIFEST},
            content=stored.data,
            expect=(200, 201, 202),
            retry=True,
        )
    yield ProgressResponse(status="success")


@asynccontextmanager
async def _pinned(store: Store, stored: StoredManifest) -> AsyncGenerator[None, None]:
    pins = store.pin()
    try:
        try:
            for digest in stored.manifest.digests:
                await anyio.to_thread.run_sync(pins.add, digest)
        except BlobMissing:
            raise incomplete(stored.name) from None
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(pins.close)


def _once(stored: StoredManifest) -> list[Layer]:
    """The layers and, last, the configuration; what is there twice is sent once."""
    manifest = stored.manifest
    return list({layer.digest: layer for layer in (*manifest.layers, manifest.config)}.values())


def _upload(store: Store, client: RegistryClient, policy: TransferPolicy, layer: Layer, name: ModelName) -> Upload:
    path, size = store.blob(layer.digest), store.blob_size(layer.digest)
    return Upload(client, path, layer.digest, size, mount=_repository(layer, name), retries=policy.retries)


def _repository(layer: Layer, name: ModelName) -> str:
    """Where the registry may have that blob already; empty if nobody knows."""
    try:
        parent = parse_name(layer.parent)
    except BadRequest:
        return ""
    return f"{parent.namespace}/{parent.model}" if parent.host.lower() == name.host.lower() else ""


async def _pushed(store: Store, upload: Upload) -> AsyncGenerator[ProgressResponse, None]:
    """Send a blob that the registry does not have."""
    if not await upload.exists():
        # A task, because a generator that is closed between two lines must not leave a cancel scope open.
        sending = asyncio.create_task(_send(store, upload))
        try:
            while not (await asyncio.wait({sending}, timeout=_TICK))[0]:
                yield _progress(upload, upload.sent)
            await sending
        finally:
            sending.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({sending})
            if not sending.cancelled():
                # Nobody else looks at an error that comes when the lines are closed already.
                sending.exception()
    yield _progress(upload, upload.size)


async def _send(store: Store, upload: Upload) -> None:
    await anyio.to_thread.run_sync(store.verify, upload.digest)
    await upload.run()


def _progress(upload: Upload, completed: int) -> ProgressResponse:
    digest = upload.digest
    return ProgressResponse(
        status=f"pushing {digest.short}", digest=str(digest), total=upload.size, completed=completed
    )
