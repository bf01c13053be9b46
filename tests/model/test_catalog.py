from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf
from stored import HOUR, layers_of, make_older, manifest_path, put_model

from remuda.errors import BadRequest, Forbidden, LoadFailed, ModelNotFound, Unavailable
from remuda.model import Catalog, Digest, ModelEntry, Store, WeightsError, parse_name

WEIGHTS = make_gguf(LLAMA, [RawTensor("a", (1000, 1350))])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def _outside(folder: Path, name: str, source: str, content: bytes = WEIGHTS) -> ModelEntry:
    path = folder / f"{source}.gguf"
    path.write_bytes(content)
    return ModelEntry(name=parse_name(name), weights=path, source=source)


def test_configuration_comes_before_the_store_and_the_store_before_packages(store: Store, tmp_path: Path) -> None:
    configured, shipped = _outside(tmp_path, "mine", "configuration"), _outside(tmp_path, "Shipped", "some-plugin")
    catalog = Catalog([shipped, configured], store)
    for name in ("mine", "shipped", "other"):
        put_model(store, name)
    assert catalog.find("MINE") is configured
    assert catalog.find("shipped").source == "store"
    assert catalog.find("other").source == "store"
    assert sorted((str(entry.name), entry.source) for entry in catalog.entries()) == [
        ("mine:latest", "configuration"),
        ("other:latest", "store"),
        ("shipped:latest", "store"),
    ]
    assert catalog.fixed(parse_name("mine")) is configured
    assert catalog.fixed(parse_name("SHIPPED")) is shipped
    assert catalog.fixed(parse_name("other")) is None
    store.delete(parse_name("shipped"))
    assert catalog.find("shipped") is shipped
    assert shipped in catalog.entries()


def test_an_alias_is_found_as_its_model(store: Store, tmp_path: Path) -> None:
    configured = _outside(tmp_path, "mine", "configuration")
    catalog = Catalog([configured], store)
    put_model(store, "Llama3.2")
    catalog.set_aliases({"GPT-4": "llama3.2", "me/own:1b": "mine", "gpt-5": "missing"})
    for name in ("gpt-4", "GPT-4:latest", "library/Gpt-4", "gpt-4:local"):
        assert str(catalog.find(name).name) == "Llama3.2:latest"
        assert str(catalog.named(name)).lower() == "gpt-4:latest"
    assert catalog.find("ME/own:1B") is configured
    for name in ("me/own", "gpt-4:1b", "gpt-5", "Gpt-5:latest"):
        with pytest.raises(ModelNotFound, match=f"^model '{name}' not found$"):
            catalog.find(name)
    assert catalog.alias(parse_name("gpt-5:LATEST")) == parse_name("missing")
    assert catalog.alias(parse_name("llama3.2")) is None
    assert str(catalog.named("llama3.2")) == "Llama3.2:latest"
    assert [str(entry.name) for entry in catalog.entries()] == ["mine:latest", "Llama3.2:latest"]


def test_an_alias_comes_before_a_model_until_it_is_taken_back(store: Store, tmp_path: Path) -> None:
    shipped = _outside(tmp_path, "shipped", "some-plugin")
    catalog = Catalog([shipped], store)
    for name in ("a", "b"):
        put_model(store, name)
    catalog.set_aliases({"a": "b", "shipped": "b", "b:1b": "a"})
    assert str(catalog.find("a").name) == str(catalog.find("shipped").name) == "b:latest"
    assert str(catalog.find("b:1b").name) == "a:latest"
    assert [str(entry.name) for entry in catalog.entries()] == ["b:latest"]
    catalog.set_aliases({})
    assert str(catalog.find("a").name) == "a:latest"
    assert catalog.find("shipped") is shipped
    with pytest.raises(ModelNotFound):
        catalog.find("b:1b")


def test_a_catalog_needs_no_store(tmp_path: Path) -> None:
    entry = _outside(tmp_path, "m", "configuration")
    catalog = Catalog([entry])
    assert catalog.store is None
    assert catalog.entries() == [entry]
    assert catalog.find("m") is entry
    assert catalog.hold(entry) is None
    with pytest.raises(ModelNotFound, match=r"^model 'n' not found$"):
        catalog.find("n")


def test_what_is_no_model_is_said_as_before(store: Store) -> None:
    catalog = Catalog([], store)
    for bad, error, text in (
        ("", BadRequest, "model is required"),
        ("a//b", BadRequest, "invalid model name"),
        ("../../etc/passwd", BadRequest, "invalid model name"),
        ("a/../../b", BadRequest, "invalid model name"),
        ("a\\b", BadRequest, "invalid model name"),
        ("x" * 5_000_000, BadRequest, "invalid model name"),
        ("nothing:1b", ModelNotFound, "model 'nothing:1b' not found"),
        ("nothing:local", ModelNotFound, "model 'nothing:local' not found"),
        ("a:local:cloud", BadRequest, "use either :local or :cloud"),
        ("a:cloud", Forbidden, "cloud is disabled"),
        ("h" * 300 + "/n/m", ModelNotFound, "not found"),
    ):
        with pytest.raises(error, match=text):
            catalog.find(bad)
    assert not store.root.exists()


def test_sources_in_names(store: Store) -> None:
    put_model(store, "m")
    put_model(store, "n:cloud")
    catalog = Catalog([], store)
    assert str(catalog.find(" m:local ").name) == "m:latest"
    assert str(catalog.find("n:Cloud").name) == "n:cloud"


def test_a_model_is_found_in_any_case(store: Store) -> None:
    put_model(store, "Me/M:1B")
    catalog = Catalog([], store)
    first = catalog.find("me/m:1b")
    assert str(first.name) == "Me/M:1B"
    assert catalog.find("ME/M:1b") is first
    assert catalog.find("Me/M:1B") is first
    put_model(store, "me/m:1b", [("model", b"newer")])
    second = catalog.find("me/m:1b")
    assert second.weights != first.weights
    store.delete(parse_name("me/m:1b"))
    with pytest.raises(ModelNotFound):
        catalog.find("me/m:1b")


def test_both_of_two_names_that_differ_by_case_are_listed(store: Store) -> None:
    put_model(store, "m")
    upper = manifest_path(store, "M")
    upper.parent.mkdir()
    upper.write_bytes(manifest_path(store, "m").read_bytes())
    catalog = Catalog([], store)
    assert [str(entry.name) for entry in catalog.entries()] == ["M:latest", "m:latest"]
    assert str(catalog.find("m").name) == "m:latest"
    assert str(catalog.find("M").name) == "M:latest"


def test_finding_a_model_again_costs_next_to_nothing(store: Store) -> None:
    put_model(store, "Me/M")
    for number in range(20):
        put_model(store, f"other-{number}")
    catalog = Catalog([], store)
    for name in ("Me/M", "me/m"):
        catalog.find(name)
        spent = [_timed(lambda name=name: catalog.find(name)) for _ in range(200)]
        assert min(spent) < 100e-6


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_details_come_from_the_configuration_and_else_from_the_weights(store: Store) -> None:
    put_model(store, "m", layers_of(WEIGHTS), model_family="", file_type="Q8_0", capabilities=["tools", "completion"])
    catalog = Catalog([], store)
    entry = catalog.find("m")
    facts = catalog.facts(entry)
    assert entry.stored is not None
    assert (facts.details.family, facts.details.families) == ("llama", ["llama"])
    assert (facts.details.quantization_level, facts.details.parameter_size) == ("Q8_0", "1.35M")
    assert (facts.size, facts.modified) == (entry.stored.size, entry.stored.modified)
    assert (facts.context_length, facts.embedding_length) == (8192, 576)
    assert facts.capabilities == ["tools", "completion"]
    assert facts.chat_template == "{{ messages }}"
    assert catalog.facts(entry) is facts
    assert catalog.digest(entry) == entry.stored.digest


def test_a_copy_has_facts_of_its_own(store: Store) -> None:
    put_model(store, "m", layers_of(WEIGHTS))
    make_older(store.root / "manifests", HOUR)
    store.copy(parse_name("m"), parse_name("n"))
    catalog = Catalog([], store)
    m, n = catalog.facts(catalog.find("m")), catalog.facts(catalog.find("n"))
    assert n.modified - m.modified > HOUR / 2


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no weights"])
def test_weights_that_cannot_be_read_leave_what_the_configuration_says(
    store: Store, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    put_model(store, "m", [("model", content)], model_type="8B", capabilities=["vision"])
    catalog = Catalog([], store)
    for _ in range(2):
        facts = catalog.facts(catalog.find("m"))
    assert (facts.details.family, facts.details.parameter_size, facts.capabilities) == (
        "llama",
        "8B",
        ["vision", "completion"],
    )
    assert len(caplog.records) == 1
    store.blob(Digest.of(content)).unlink()
    assert catalog.facts(catalog.find("m")).details.parameter_size == "8B"


def test_facts_of_two_models_with_the_same_weights_are_their_own(tmp_path: Path) -> None:
    plain = _outside(tmp_path, "plain", "configuration")
    projector = tmp_path / "projector.gguf"
    projector.write_bytes(make_gguf({"general.architecture": "clip", "clip.has_vision_encoder": True}))
    seeing = ModelEntry(name=parse_name("seeing"), weights=plain.weights, projector=projector)
    catalog = Catalog([plain, seeing])
    assert catalog.facts(plain).capabilities == ["completion"]
    assert catalog.facts(seeing).capabilities == ["completion", "vision"]
    plain.weights.unlink()
    with pytest.raises(WeightsError):
        catalog.facts(plain)


def test_every_file_of_a_stored_model_is_checked_and_kept_while_it_is_held(store: Store) -> None:
    put_model(store, "m", layers_of(WEIGHTS, projector="projector", adapter="adapter", draft="draft"))
    catalog = Catalog([], store)
    entry = catalog.find("m")
    held = catalog.hold(entry)
    assert held is not None
    store.delete(entry.name)
    assert all(path.exists() for path in (entry.weights, entry.projector, entry.draft, *entry.adapters) if path)
    held.close()
    assert not any(path.exists() for path in (entry.weights, entry.projector, entry.draft, *entry.adapters) if path)
    with pytest.raises(ModelNotFound):
        catalog.hold(entry)
    put_model(store, "m", layers_of(b"other weights"))
    with pytest.raises(Unavailable, match="replaced"):
        catalog.hold(entry)
    put_model(store, "m", layers_of(WEIGHTS, projector="projector", adapter="adapter", draft="draft"))
    entry = catalog.find("m")
    for data in (b"projector", b"adapter", b"draft", WEIGHTS):
        path = store.blob(Digest.of(data))
        path.write_bytes(data[:-1] + b"!")
        with pytest.raises(LoadFailed, match="damaged"):
            catalog.hold(entry)
        assert not path.exists()
        with pytest.raises(LoadFailed, match="not complete"):
            catalog.hold(entry)
        store.put(data)
        again = catalog.hold(entry)
        assert again is not None
        again.close()
    outside = ModelEntry(name=parse_name("x"), weights=Path("nowhere"))
    assert catalog.hold(outside) is None
