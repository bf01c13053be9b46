"""Models in a store, made of a few bytes each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from remuda.model import Digest, Store, parse_name
from remuda.model.manifest import CONFIG, Layer, Manifest, ModelConfigFile, encode_manifest

__all__ = ["HOUR", "blobs_in", "config_of", "layers_of", "make_older", "manifest_path", "put_model", "tree"]

HOUR = 3600.0
IMAGE = "application/vnd.ollama.image."


def put_model(
    store: Store, name: str, layers: Iterable[tuple[str, bytes]] = (("model", b"weights"),), **config: Any
) -> list[Digest]:
    """Write a model of these layers, each by the last word of its media type; the digests that were removed."""
    with store.pin() as pins:
        made: list[Layer] = []
        for kind, data in layers:
            digest, _ = store.put(data, pins)
            media_type = kind if "/" in kind else IMAGE + kind
            made.append(Layer(media_type=media_type, digest=digest, size=len(data)))
        config = {"model_format": "gguf", "model_family": "llama", **config}
        data = msgspec.json.encode(ModelConfigFile(**config))
        digest, _ = store.put(data, pins)
        manifest = Manifest(config=config_of(digest, len(data)), layers=made)
        return store.write(parse_name(name), encode_manifest(manifest))


def config_of(digest: Digest, size: int) -> Layer:
    return Layer(media_type=CONFIG, digest=digest, size=size)


def layers_of(weights: bytes, **texts: Any) -> list[tuple[str, bytes]]:
    """Layers by the last word of their types; what is no text is written as JSON."""
    texts = {
        kind: value if isinstance(value, str) else msgspec.json.encode(value).decode() for kind, value in texts.items()
    }
    return [("model", weights), *((kind, text.encode()) for kind, text in texts.items())]


def manifest_path(store: Store, name: str) -> Path:
    parsed = parse_name(name)
    return store.root / "manifests" / parsed.host / parsed.namespace / parsed.model / parsed.tag


def blobs_in(store: Store) -> set[str]:
    """The names of all files among the blobs."""
    folder = store.root / "blobs"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def make_older(folder: Path, seconds: float) -> None:
    """Every file in the folder and below becomes older by that much."""
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file by its path inside the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
