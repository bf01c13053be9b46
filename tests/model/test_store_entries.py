"""What the manifests of a store and the small blobs beside the weights make of a model."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf
from stored import layers_of, manifest_path, put_model

from remuda.errors import ModelNotFound
from remuda.model import BadManifest, Catalog, Digest, Store, parse_name

WEIGHTS = make_gguf(LLAMA, [RawTensor("a", (1000, 1350))])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def test_an_entry_has_what_its_layers_say(store: Store) -> None:
    layers = layers_of(
        WEIGHTS,
        projector="projector",
        adapter="adapter",
        draft="draft",
        template="{{ .Prompt }}",
        system="Be kind.",
        params={"stop": ["<end>"], "temperature": 1, "num_ctx": 2048, "penalize_newline": True},
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", "thinking": "?"}],
    )
    layers += [("adapter", b"second"), ("license", b"MIT"), ("license", b"and more"), ("embed", b"of old")]
    put_model(store, "m", layers, parser="known", capabilities=["vision"])
    entry = Catalog([], store, parsers=frozenset({"known"})).find("m")
    assert entry.fault == ""
    assert entry.weights == store.blob(Digest.of(WEIGHTS))
    assert entry.projector == store.blob(Digest.of(b"projector"))
    assert entry.adapters == (store.blob(Digest.of(b"adapter")), store.blob(Digest.of(b"second")))
    assert entry.draft == store.blob(Digest.of(b"draft"))
    assert (entry.format, entry.template, entry.system, entry.parser) == ("gguf", "{{ .Prompt }}", "Be kind.", "known")
    assert entry.options == {"stop": ("<end>",), "temperature": 1.0, "num_ctx": 2048}
    assert entry.parameters == {"stop": ["<end>"], "temperature": 1, "num_ctx": 2048, "penalize_newline": True}
    assert entry.messages == (("user", "hi"), ("assistant", "ho"))
    assert entry.licenses == ("MIT", "and more")
    assert entry.stored is not None
    assert entry.stored.size == sum(path.stat().st_size for path in (store.root / "blobs").iterdir())
    assert entry.stored.config.capabilities == ["vision"]
    found = store.find(parse_name("m"))
    assert found is not None
    assert (entry.stored.digest, entry.stored.modified) == (found.digest, found.modified)


def test_a_parser_that_is_not_there_is_left_out(store: Store) -> None:
    put_model(store, "m", parser="unknown")
    entry = Catalog([], store, parsers=frozenset({"known"})).find("m")
    assert (entry.parser, entry.fault) == (None, "")


def test_a_model_of_old(store: Store) -> None:
    put_model(store, "m", [("model", WEIGHTS), ("prompt", b"{{ .Prompt }} of old"), ("params", b"null")])
    path = manifest_path(store, "m")
    manifest = json.loads(path.read_bytes())
    config, _ = store.put(b'{"rootfs":{"type":"layers","diff_ids":[]},"architecture":"amd64","model_type":7}')
    manifest["config"] = {"mediaType": "", "digest": f"sha256-{config.hex}", "size": 1}
    manifest["layers"][0]["from"] = "base:latest"
    path.write_text(json.dumps(manifest))
    catalog = Catalog([], store)
    entry = catalog.find("m")
    assert (entry.fault, entry.template, entry.options) == ("", "{{ .Prompt }} of old", {})
    details = catalog.facts(entry).details
    assert (details.family, details.parameter_size, details.parent_model) == ("llama", "1.35M", "base:latest")


def test_the_first_of_several_weights_is_the_model(store: Store) -> None:
    put_model(store, "m", [("model", b"first shard"), ("model", b"second shard")])
    assert Catalog([], store).find("m").weights == store.blob(Digest.of(b"first shard"))


FAULTS: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "option of another type": (layers_of(WEIGHTS, params={"top_k": "many"}), 'option "top_k" must be of type integer'),
    "option out of range": (layers_of(WEIGHTS, params={"top_p": 7}), 'option "top_p" is 7, out of range'),
    "parameters of text": (layers_of(WEIGHTS, params="top_k 1"), "its parameters cannot be read"),
    "parameters in a list": (layers_of(WEIGHTS, params=[]), "its parameters cannot be read"),
    "parameters without an end": (layers_of(WEIGHTS, params='{"a":' * 100_000), "its parameters cannot be read"),
    "messages of text": (layers_of(WEIGHTS, messages="hi"), "its messages cannot be read"),
    "messages of numbers": (layers_of(WEIGHTS, messages=[{"role": 1}]), "its messages cannot be read"),
    "huge template": (layers_of(WEIGHTS, template="x" * (4 * 2**20 + 1)), "more than the"),
    "huge texts": (layers_of(WEIGHTS) + [("license", bytes([n]) * (4 * 2**20)) for n in range(5)], "more than the"),
    "no weights": ([("template", b"x")], "it has no weights that can be loaded (its format is gguf)"),
    "tensors": ([("tensor", b"x")], "it has no weights that can be loaded"),
}


@pytest.mark.parametrize(("layers", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_wrong_with_a_model_is_its_fault(store: Store, layers: list[tuple[str, bytes]], fault: str) -> None:
    put_model(store, "Me/m", layers)
    catalog = Catalog([], store)
    (entry,) = catalog.entries()
    assert entry.fault.startswith("model 'Me/m:latest' cannot be used: ")
    assert fault in entry.fault
    assert len(entry.fault) < 300
    assert str(store.root) not in entry.fault
    assert catalog.find("me/m") is entry
    catalog.facts(entry)
    catalog.digest(entry)


def test_a_model_of_another_server_is_listed_and_cannot_be_used(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    config = {"remote_host": "https://example.org:443", "remote_model": "m", "capabilities": ["completion", "tools"]}
    put_model(store, "stub", [], context_length=4096, model_type="8B", **config)
    path = manifest_path(store, "stub")
    path.write_bytes(path.read_bytes().replace(b'"layers":[]', b'"layers":null'))
    catalog = Catalog([], store)
    (entry,) = catalog.entries()
    assert entry.fault == (
        "model 'stub:latest' cannot be used: its weights are on another server, which this one does not reach"
    )
    facts = catalog.facts(entry)
    assert facts.capabilities == ["completion", "tools"]
    assert (facts.details.parameter_size, facts.context_length) == ("8B", 4096)
    assert not caplog.records


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_part_that_is_missing_may_come_back(store: Store, how: str) -> None:
    put_model(store, "m", layers_of(WEIGHTS, template="{{ .Prompt }}"))
    template = store.blob(Digest.of(b"{{ .Prompt }}"))
    if how == "missing":
        template.unlink()
    else:
        template.write_bytes(b"{{ .Promt }}!")
    catalog = Catalog([], store)
    assert catalog.find("m").fault == (
        "model 'm:latest' cannot be used: a part of it is missing or damaged; pull it or create it again"
    )
    assert [entry.template for entry in catalog.entries()] == [None]
    store.put(b"{{ .Prompt }}")
    assert (catalog.find("m").fault, catalog.find("m").template) == ("", "{{ .Prompt }}")


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'{"config":{},"layers":[]}'])
def test_a_corrupt_manifest_is_left_out_and_logged_once(
    store: Store, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    put_model(store, "m")
    put_model(store, "corrupt")
    catalog = Catalog([], store)
    assert len(catalog.entries()) == 2
    manifest_path(store, "corrupt").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [str(entry.name) for entry in catalog.entries()] == ["m:latest"]
    assert len(caplog.records) == 1
    assert "corrupt:latest is not listed" in caplog.text
    with pytest.raises(BadManifest, match=r"^model 'corrupt:latest' cannot be used, pull it or create it again: "):
        catalog.find("corrupt")
    manifest_path(store, "corrupt").write_bytes(data + b" ")
    catalog.entries()
    assert len(caplog.records) == 2
    put_model(store, "corrupt")
    assert len(catalog.entries()) == 2


def test_an_entry_is_read_once_for_each_state_of_its_manifest(store: Store) -> None:
    put_model(store, "m", layers_of(WEIGHTS, system="one"))
    catalog = Catalog([], store)
    first = catalog.find("m")
    assert catalog.find("m") is first
    assert catalog.entries() == [first]
    put_model(store, "m", layers_of(WEIGHTS, system="two"))
    assert catalog.find("m").system == "two"
    os.utime(manifest_path(store, "m"), (0, 0))
    again = catalog.find("m")
    assert again.stored is not None
    assert again.stored.modified == 0


def test_models_come_and_go_while_they_are_listed(store: Store) -> None:
    catalog = Catalog([], store)
    stop = threading.Event()
    failed: list[Exception] = []

    def list_them() -> None:
        while not stop.is_set():
            try:
                for entry in catalog.entries():
                    catalog.facts(entry)
                    catalog.find(str(entry.name))
            except ModelNotFound:
                continue
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=list_them) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(30):
            put_model(store, f"m-{number % 3}", layers_of(WEIGHTS, system=str(number)))
            if number % 2:
                store.delete(parse_name(f"m-{number % 3}"))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
