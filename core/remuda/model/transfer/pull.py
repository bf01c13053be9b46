"""A model from a registry: its manifest, its blobs, and then its name (Ollama API, "POST /api/pull")."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from anyio.to_thread import run_sync

from ...errors import LoadFailed
from ...wire import ProgressResponse
from ..digest import Digest
from ..manifest import MANIFEST, MAX_MANIFEST, BadManifest, Manifest, decode_manifest
from ..name import ModelName
from ..source import without_source
from ..store import BlobMissing, Pins, Store
from .download import Downloads
from .errors import RegistryError
from .http import RegistryClient
from .policy import TransferPolicy

__all__ = ["pull"]


async def pull(
    store: Store, downloads: Downloads, policy: TransferPolicy, name: ModelName, *, insecure: bool
) -> AsyncGenerator[ProgressResponse, None]:
    """See `Transfers.pull`."""
    without_source(f"{name.model}:{name.tag}")
    async with RegistryClient(name, policy, insecure=insecure) as client:
        yield ProgressResponse(status="pulling manifest")
        data, manifest = await _fetch_manifest(client, name)
        # Whoever is fetched first must still be there when the manifest that needs it is written.
        pins = store.pin()
        try:
            for digest, size in _sizes(manifest).items():
                async with aclosing(_pull_blob(store, downloads, client, pins, digest, size)) as events:
                    async for event in events:
                        yield event
            yield ProgressResponse(status="verifying sha256 digest")
            yield ProgressResponse(status="writing manifest")
            removed = await run_sync(store.write, name, data)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(pins.close)
    if removed:
        yield ProgressResponse(status="removing unused layers")
    yield ProgressResponse(status="success")


async def _fetch_manifest(client: RegistryClient, name: ModelName) -> tuple[bytes, Manifest]:
    try:
        reply = await client.request(
            "GET", f"{client.base}/manifests/{name.tag}", headers={"Accept": MANIFEST}, limit=MAX_MANIFEST
        )
        return reply.body, decode_manifest(reply.body)
    except (RegistryError, BadManifest) as error:
        error.args = (f"pull model manifest: {error}",)
        raise


def _sizes(manifest: Manifest) -> dict[Digest, int]:
    """By digest, in the order in which they are pulled."""
    sizes: dict[Digest, int] = {}
    for layer in (*manifest.layers, manifest.config):
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise BadManifest(f"pull model manifest: the manifest gives blob {layer.digest.short} two different sizes")
    return sizes


async def _pull_blob(
    store: Store, downloads: Downloads, client: RegistryClient, pins: Pins, digest: Digest, size: int
) -> AsyncGenerator[ProgressResponse, None]:
    def event(completed: int) -> ProgressResponse:
        return ProgressResponse(
            status=f"pulling {digest.short}", digest=str(digest), total=size, completed=min(completed, size)
        )

    if await run_sync(_is_there, store, pins, digest):
        there = await run_sync(store.blob_size, digest)
        if there != size:
            raise BadManifest(f"pull model manifest: blob {digest.short} has {there} bytes, not {size} as it says")
        yield event(size)
        return
    while True:
        async with downloads.join(client, digest, size) as download:
            try:
                async with aclosing(download.progress()) as progress:
                    async for completed in progress:
                        yield event(completed)
                await run_sync(pins.add, digest)
                return
            except RegistryError:
                # Somebody else's registry failed, of which this one need not suffer.
                if download.base == client.base:
                    raise


def _is_there(store: Store, pins: Pins, digest: Digest) -> bool:
    """And whole; it is pinned then."""
    if not store.has(digest):
        return False
    try:
        store.verify(digest)
        pins.add(digest)
    except (BlobMissing, LoadFailed):
        return False
    return True
