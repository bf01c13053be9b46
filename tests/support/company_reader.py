"""A models' folder as another program reads it: with nothing but `json` and `hashlib`, and no code of the server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

__all__ = ["await_store", "blobs_of", "check_store", "text_of"]

_BLOB = re.compile(r"sha256-[0-9a-f]{64}")
_OWN = {"remuda.lock", "remuda-verified.json"}

Models = dict[str, dict[str, Any]]
"""Manifests by the names that `/api/tags` gives them."""


def check_store(root: Path, *, spare: Collection[str] = (), unfinished: bool = False) -> Models:
    """All models, each of which is whole: its manifest is JSON, its blobs are there with the right sizes and bytes.

    Nothing else may be there but the blobs of `spare` (digests): no blob that no manifest names, no empty folder, no
    file that is being written; with `unfinished` all that may lie in the folder as well. Raises `AssertionError`.
    """
    if not root.is_dir():
        return {}
    models = {_name(path.relative_to(root / "manifests").parts): path for path in _manifests(root, unfinished)}
    assert len({name.lower() for name in models}) == len(models), sorted(models)
    read = {name: json.loads(path.read_bytes()) for name, path in models.items()}
    named = {digest for manifest in read.values() for digest in blobs_of(manifest)}
    found = {path.name for path in (root / "blobs").iterdir()} if (root / "blobs").is_dir() else set[str]()
    for name, manifest in read.items():
        for layer in (manifest["config"], *manifest["layers"]):
            assert _file(layer["digest"]) in found, f"{name} lacks {layer}"
            assert (root / "blobs" / _file(layer["digest"])).stat().st_size == layer["size"], f"{name}: {layer}"
    for file in found:
        if _BLOB.fullmatch(file):
            digest = hashlib.sha256((root / "blobs" / file).read_bytes()).hexdigest()
            assert file == f"sha256-{digest}"
    if not unfinished:
        assert found <= {_file(digest) for digest in {*named, *spare}}, sorted(found)
        assert {path.name for path in root.iterdir()} <= {"blobs", "manifests", *_OWN}
    return read


def blobs_of(manifest: dict[str, Any]) -> set[str]:
    """The digests that a manifest names."""
    return {layer["digest"] for layer in (manifest["config"], *manifest["layers"])}


def text_of(root: Path, manifest: dict[str, Any], kind: str) -> str:
    """The content of a model's layer, by the last word of its media type."""
    [layer] = [layer for layer in manifest["layers"] if layer["mediaType"].endswith(f".{kind}")]
    return (root / "blobs" / _file(layer["digest"])).read_text()


def await_store(root: Path, *, spare: Collection[str] = (), seconds: float = 10.0) -> Models:
    """As `check_store`, for blobs that somebody still holds and lets go of by and by."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check_store(root, spare=spare)
        except (AssertionError, FileNotFoundError):  # the latter goes between being listed and being read
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _manifests(root: Path, unfinished: bool) -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(root / "manifests"):
        depth = len(Path(folder).relative_to(root / "manifests").parts)
        if not unfinished:
            assert not (files if depth != 4 - 1 else folders), (folder, folders, files)
            assert folders or files or depth == 0, f"{folder} is empty"
        found += [Path(folder, file) for file in files if depth == 4 - 1]
    return found


def _name(parts: tuple[str, ...]) -> str:
    host, namespace, model, tag = parts
    if host == "registry.ollama.ai":
        return f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"
    return f"{host}/{namespace}/{model}:{tag}"


def _file(digest: str) -> str:
    return digest.replace(":", "-")
