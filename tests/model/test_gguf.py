"""Reading GGUF headers, and the facts of models in them; what is refused is in `test_gguf_check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad_gguf import LLAMA, RawTensor, Typed, make_gguf
from hypothesis import given, settings, strategies as st

from remuda.model import Catalog, GGUFError, ModelEntry, WeightsError, parse_name
from remuda.model.facts import human_count, read_facts
from remuda.model.gguf import ArrayPlace, TextPlace, kind_of, read_header


def _entry(path: Path, content: bytes) -> ModelEntry:
    path.write_bytes(content)
    return ModelEntry(name=parse_name("m"), weights=path)


def test_the_facts_of_a_model(tmp_path: Path) -> None:
    facts = read_facts(_entry(tmp_path / "m", make_gguf(LLAMA, [RawTensor("a", (1000, 1345)), RawTensor("b", (16,))])))
    assert (facts.details.family, facts.details.quantization_level) == ("llama", "Q4_1")
    assert facts.details.parameter_size == "1.35M"
    assert (facts.context_length, facts.embedding_length) == (8192, 576)
    assert (facts.bos_token, facts.eos_token, facts.chat_template) == ("<s>", "</s>", "{{ messages }}")
    assert facts.capabilities == ["completion"]


def test_an_embedding_model_does_not_complete(tmp_path: Path) -> None:
    values = {"general.architecture": "bert", "bert.pooling_type": 1}
    assert read_facts(_entry(tmp_path / "m", make_gguf(values))).capabilities == ["embedding"]


def test_arrays_are_remembered_by_place(tmp_path: Path) -> None:
    entry = _entry(tmp_path / "m", make_gguf(LLAMA))
    header, tokens = read_header(entry.weights, ("tokenizer.ggml.eos_token_id",))
    place = header.values["tokenizer.ggml.tokens"]
    assert isinstance(place, ArrayPlace)
    assert place.length == 3
    assert tokens == {"tokenizer.ggml.eos_token_id": "</s>"}


def test_floats_have_the_precision_of_the_file(tmp_path: Path) -> None:
    header, _ = read_header(_entry(tmp_path / "m", make_gguf()).weights)
    assert header.values["llama.attention.layer_norm_rms_epsilon"] == 1e-5


def test_endless_texts_are_remembered_by_place(tmp_path: Path) -> None:
    text = "x" * (2**20 + 1)
    header, _ = read_header(_entry(tmp_path / "m", make_gguf({**LLAMA, "long": text})).weights)
    place = header.values["long"]
    assert isinstance(place, TextPlace)
    assert place.end - place.offset == len(text)
    assert header.text("long") == ""


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"general.architecture": "llama", "llama.block_count": 2}, "model"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "adapter"),
        ({"general.architecture": "llama", "general.type": "mmproj"}, "projector"),
        ({"general.architecture": "llama", "general.type": "projector"}, "projector"),
        ({"general.architecture": "clip", "clip.has_vision_encoder": True}, "projector"),
        ({"general.architecture": "clip", "clip.has_audio_encoder": True}, "projector"),
        ({"general.architecture": "clip", "clip.has_vision_encoder": False}, "model"),
        ({"general.architecture": "gemma3", "gemma3.vision.block_count": 27}, "projector"),
        ({"general.architecture": "gemma3", "gemma3.vision.block_count": 27, "gemma3.block_count": 2}, "model"),
    ],
)
def test_what_part_of_a_model_a_file_is(tmp_path: Path, values: dict[str, Any], kind: str) -> None:
    header, _ = read_header(_entry(tmp_path / "m", make_gguf(values)).weights)
    assert kind_of(header) == kind


def test_which_part_of_a_split_file_it_is(tmp_path: Path) -> None:
    header, _ = read_header(_entry(tmp_path / "m", make_gguf({"split.no": 1, "split.count": Typed(2, 3)})).weights)
    assert (header.shard, header.shards) == (1, 3)
    header, _ = read_header(_entry(tmp_path / "m", make_gguf()).weights)
    assert (header.shard, header.shards) == (0, 1)


@pytest.mark.parametrize(
    ("number", "text"),
    [(134_515_008, "134.52M"), (8_000_000_000, "8B"), (1_235_814_432, "1.2B"), (260_000, "260K"), (12, "12")],
)
def test_parameters_are_told_as_the_protocol_does(number: int, text: str) -> None:
    assert human_count(number) == text


def test_a_file_that_is_no_gguf_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match="does not begin") as caught:
        read_facts(_entry(tmp_path / "m", b"GGML" + make_gguf()[4:]))
    assert str(tmp_path) not in str(caught.value)


def test_every_prefix_of_a_good_header_is_refused(tmp_path: Path) -> None:
    whole = make_gguf(tensors=())
    for length in range(len(whole)):
        with pytest.raises(GGUFError):
            read_facts(_entry(tmp_path / "m", whole[:length]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    whole = bytearray(make_gguf())
    whole[at % len(whole)] = byte
    try:
        read_facts(_entry(tmp_path_factory.getbasetemp() / "changed", bytes(whole)))
    except GGUFError as error:
        assert str(error)


def test_facts_are_read_once_for_each_state_of_a_file(tmp_path: Path) -> None:
    entry = _entry(tmp_path / "m", make_gguf(LLAMA))
    catalog = Catalog([entry])
    first = catalog.facts(entry)
    assert catalog.facts(entry) is first
    digest = catalog.digest(entry)
    entry.weights.write_bytes(make_gguf({**LLAMA, "llama.context_length": 16, "x": 1}))
    assert catalog.facts(entry).context_length == 16
    assert catalog.digest(entry) != digest
    entry.weights.unlink()
    with pytest.raises(WeightsError, match="not there"):
        catalog.facts(entry)
