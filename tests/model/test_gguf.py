from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from remuda.model import Catalog, GGUFError, ModelEntry, parse_name
from remuda.model.facts import human_count, read_facts
from remuda.model.gguf import ArrayPlace, read_header


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return _string(key) + struct.pack("<I", 8) + _string(value)
    if isinstance(value, list):
        return _string(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))
    return _string(key) + struct.pack("<II", 4, value)


def make_gguf(values: dict[str, Any], shapes: list[tuple[int, ...]] | None = None) -> bytes:
    tensors = b"".join(
        _string(f"t{index}")
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", 0, 0)
        for index, shape in enumerate(shapes or [])
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes or []), len(values))
    return head + b"".join(_pair(key, value) for key, value in values.items()) + tensors


LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.file_type": 3,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.chat_template": "{{ messages }}",
}


def _entry(path: Path, content: bytes) -> ModelEntry:
    path.write_bytes(content)
    return ModelEntry(name=parse_name("m"), weights=path)


def test_the_facts_of_a_model(tmp_path: Path) -> None:
    facts = read_facts(_entry(tmp_path / "m", make_gguf(LLAMA, [(1000, 1345), (16,)])))
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


@pytest.mark.parametrize(
    ("number", "text"),
    [(134_515_008, "134.52M"), (8_000_000_000, "8B"), (1_235_814_432, "1.2B"), (260_000, "260K"), (12, "12")],
)
def test_parameters_are_told_as_the_protocol_does(number: int, text: str) -> None:
    assert human_count(number) == text


def _broken() -> dict[str, tuple[bytes, str]]:
    whole = make_gguf(LLAMA, [(2, 2)])
    head = b"GGUF" + struct.pack("<I", 3)
    key = _string("k")
    return {
        "empty": (b"", "cannot be read"),
        "only the magic": (b"GGUF", "version"),
        "another magic": (b"GGML" + whole[4:], "does not begin"),
        "version 1": (b"GGUF" + struct.pack("<I", 1) + whole[8:], "version 1"),
        "byte-swapped": (b"GGUF" + struct.pack(">I", 3) + whole[8:], "version"),
        "keys 2^63": (head + struct.pack("<QQ", 0, 2**63), "key count"),
        "tensors -1": (head + struct.pack("<QQ", 2**64 - 1, 0), "tensor count"),
        "string 2^63": (head + struct.pack("<QQQ", 0, 1, 2**63), "too long"),
        "string past the end": (head + struct.pack("<QQQ", 0, 1, 60_000), "ends inside"),
        "unknown type": (head + struct.pack("<QQ", 0, 1) + key + struct.pack("<I", 99), "unknown type"),
        "array 2^63": (head + struct.pack("<QQ", 0, 1) + key + struct.pack("<IIQ", 9, 8, 2**63), "cannot be"),
        "numbers 2^62": (head + struct.pack("<QQ", 0, 1) + key + struct.pack("<IIQ", 9, 4, 2**62), "ends inside"),
        "nested arrays": (head + struct.pack("<QQ", 0, 1) + key + struct.pack("<IIQ", 9, 9, 1), "cannot be"),
        "five dimensions": (make_gguf({}, [(1, 1, 1, 1, 1)]), "5 dimensions"),
        "shape overflow": (make_gguf({}, [(2**40, 2**40)]), "shape"),
    }


@pytest.mark.parametrize("case", _broken().items(), ids=lambda case: case[0])
def test_a_broken_file_is_refused_and_the_field_named(tmp_path: Path, case: tuple[str, tuple[bytes, str]]) -> None:
    content, fragment = case[1]
    with pytest.raises(GGUFError) as caught:
        read_facts(_entry(tmp_path / "m", content))
    assert fragment in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_every_prefix_of_a_good_file_is_refused(tmp_path: Path) -> None:
    whole = make_gguf(LLAMA, [(2, 2)])
    for length in range(len(whole)):
        with pytest.raises(GGUFError):
            read_facts(_entry(tmp_path / "m", whole[:length]))


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    whole = bytearray(make_gguf(LLAMA, [(2, 2)]))
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
    with pytest.raises(GGUFError, match="not there"):
        catalog.facts(entry)
