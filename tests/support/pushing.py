"""Models in stores, and pushes of them, for the tests of what goes to a registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from remuda.model import parse_name
from remuda.model.manifest import CONFIG, Layer, Manifest, encode_manifest
from remuda.model.store import Store
from remuda.model.transfer import TransferPolicy, Transfers
from remuda.wire import ProgressResponse

__all__ = ["make_model", "policy_for", "pull_lines", "push_lines"]


def make_model(
    store: Store,
    name: str,
    layers: Mapping[str, bytes] | Sequence[tuple[str, bytes]],
    *,
    parent: str = "",
    config: bytes = b'{"model_format":"gguf"}',
) -> bytes:
    """The manifest. `layers` as media type and bytes; `parent`: the model that they came from."""
    pairs = list(layers.items()) if isinstance(layers, Mapping) else list(layers)
    with store.pin() as pins:

        def layer(media_type: str, data: bytes, parent: str = "") -> Layer:
            digest, _ = store.put(data, pins)
            return Layer(media_type=media_type, digest=digest, size=len(data), parent=parent)

        manifest = encode_manifest(
            Manifest(config=layer(CONFIG, config), layers=[layer(kind, data, parent) for kind, data in pairs])
        )
        store.write(parse_name(name), manifest)
    return manifest


def policy_for(folder: Path, **changes: Any) -> TransferPolicy:
    """Of a server that listens on loopback, with little patience."""
    return TransferPolicy(**{"key": folder / "id_ed25519", "loopback": True, "stall_timeout": 5.0} | changes)


async def push_lines(store: Store, policy: TransferPolicy, name: str) -> list[ProgressResponse]:
    transfers = Transfers(store, policy)
    async with aclosing(transfers.push(parse_name(name), insecure=True)) as lines:
        return [line async for line in lines]


async def pull_lines(store: Store, policy: TransferPolicy, name: str) -> list[ProgressResponse]:
    transfers = Transfers(store, policy)
    try:
        async with aclosing(transfers.pull(parse_name(name), insecure=True)) as lines:
            return [line async for line in lines]
    finally:
        await transfers.close()
