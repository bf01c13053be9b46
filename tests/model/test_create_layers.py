"""Layers put together without anything that takes time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf
from stored import blobs_in

from remuda.model import parse_name
from remuda.model.create import Basis, Family, Recipe, assemble, check_types, examine, group, join, manifest_of
from remuda.model.manifest import ModelConfigFile, decode_manifest
from remuda.model.store import BlobMissing, Pins, Store
from remuda.wire import ShowMessage


def recipe(**fields: Any) -> Recipe:
    empty: dict[str, Any] = {
        "files": {},
        "adapters": {},
        "drafts": {},
        "licenses": [],
        "parameters": {},
        "messages": [],
    }
    config = ModelConfigFile()
    return Recipe(**{"name": parse_name("new"), "base": "old", "config": config, **empty, **fields})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


class _Stop(Exception):
    pass


def test_nothing_is_left_of_parts_whose_joining_ended(store: Store) -> None:
    split = {"split.count": 2, "split.tensors.count": 2}
    first = make_gguf({**LLAMA, **split, "split.no": 0}, [RawTensor("a", (8,))])
    second = make_gguf({**split, "split.no": 1}, [RawTensor("b", (8,))])
    with store.pin() as pins:
        uploads = [
            examine(store, f"m-0000{n}-of-00002.gguf", store.put(data, pins)[0])
            for n, data in ((2, second), (1, first))
        ]
        (whole,) = group(uploads)
        before = blobs_in(store)
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise _Stop

        with pytest.raises(_Stop):
            join(store, pins, whole, check=check)
        assert blobs_in(store) == before
        joined = join(store, pins, whole, check=lambda: None)
        assert (joined.shards, joined.rest, joined.kind) == (1, (), "model")
        assert join(store, pins, joined, check=lambda: pytest.fail("it is whole")) is joined


def test_files_are_pinned_from_the_first_look_on(store: Store) -> None:
    digest, _ = store.put(make_gguf())
    with store.pin() as pins:
        check_types(store, pins, {"a": digest}, script="")
        store.write(parse_name("a"), _manifest(store, pins))
        store.delete(parse_name("a"))
        assert store.has(digest)
    store.blob(digest).unlink(missing_ok=True)
    with store.pin() as pins, pytest.raises(BlobMissing):
        check_types(store, pins, {"a": digest}, script="")


def test_stops_of_a_family_give_way_to_those_of_the_request(store: Store) -> None:
    family = Family("chatml", "{{ .Prompt }}", ("<|im_end|>",))
    with store.pin() as pins:
        for parameters, expected in (({}, b'{"stop":["<|im_end|>"]}'), ({"stop": ["x"]}, b'{"stop":["x"]}')):
            parts, _ = assemble(store, pins, recipe(parameters=parameters), Basis(), family)
            assert [store.read_blob(part.layer.digest, 1000) for part in parts] == [b"{{ .Prompt }}", expected]
            assert parts[0].status == "using autodetected template chatml"


def test_a_layer_says_whether_it_is_new(store: Store) -> None:
    with store.pin() as pins:
        for word in ("creating new", "using existing"):
            parts, config = assemble(store, pins, recipe(messages=[ShowMessage("user", "x")]), Basis(), None)
            assert [part.status for part in parts] == [f"{word} layer {parts[0].layer.digest}"]
            assert decode_manifest(manifest_of(parts, config)).layers == [parts[0].layer]


def _manifest(store: Store, pins: Pins) -> bytes:
    parts, config = assemble(store, pins, recipe(system="x"), Basis(), None)
    return manifest_of(parts, config)
