"""`model_info` and `tensor_infos`, against what the `gguf` package reads."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bad_gguf import LLAMA, Kind, RawTensor, Typed, make_gguf, raw_pair, raw_text
from gguf import GGUFReader
from hypothesis import given, settings, strategies as st
from tiny_models import write_tiny_llama, write_tiny_projector

from remuda.model.gguf import GGUFError, model_info, read_header, tensor_infos
from remuda.model.gguf.numbers import json_float64, short_float32


def _info(path: Path, *, verbose: bool = True) -> dict[str, Any]:
    return msgspec.json.decode(model_info(path, verbose=verbose))


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return path


def _models(folder: Path) -> list[Path]:
    return [write_tiny_llama(folder / "m.gguf", chat_template="x"), write_tiny_projector(folder / "p.gguf")]


def test_the_metadata_is_told_key_by_key(tmp_path: Path) -> None:
    for path in _models(tmp_path):
        reader = GGUFReader(path)
        left_out = {"general.name", "tokenizer.chat_template"}
        expected = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not key.startswith("GGUF.") and key not in left_out
        }
        expected["general.parameter_count"] = sum(int(tensor.n_elements) for tensor in reader.tensors)
        told = _info(path)
        assert list(told) == sorted(expected)
        for key, value in told.items():
            numbers = isinstance(value, float) or (isinstance(value, list) and isinstance(value[0], float))
            assert value == (pytest.approx(expected[key], rel=1e-7) if numbers else expected[key]), key


def test_arrays_are_null_unless_verbose(tmp_path: Path) -> None:
    nothing = raw_pair("general.tags", Kind.ARRAY, struct.pack("<IQ", Kind.STRING, 0))
    long = "{}" * 2**20
    path = _file(tmp_path, make_gguf({**LLAMA, "tokenizer.huggingface.json": long}, pairs=[nothing]))
    told, verbose = _info(path, verbose=False), _info(path)
    arrays = {key for key, value in verbose.items() if isinstance(value, list) and value}
    assert arrays == {f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type")}
    assert {key for key, value in told.items() if value is None} == {*arrays, "tokenizer.huggingface.json"}
    assert told["general.tags"] == []
    assert verbose["tokenizer.huggingface.json"] == long
    assert told["llama.block_count"] == 2


def test_values_of_every_kind(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "u8": Typed(Kind.UINT8, 255), "i8": Typed(Kind.INT8, -128), "u16": Typed(Kind.UINT16, 65535),
        "i16": Typed(Kind.INT16, -32768), "u32": 2**32 - 1, "i32": Typed(Kind.INT32, -(2**31)),
        "u64": Typed(Kind.UINT64, 2**64 - 1), "i64": Typed(Kind.INT64, -(2**63)), "no": False, "text": 'a"\u2028\n',
        "f64": Typed(Kind.FLOAT64, 9.999999747378752e-06), "f32": 1e-5, "whole": 10000.0, "third": 1 / 3,
        "nan": float("nan"), "infinite": float("-inf"),
        "list": [1.5, float("nan"), 0.1], "truths": [True, False], "doubles": Typed(Kind.FLOAT64, [0.1, 2.0]),
        "bytes": Typed(Kind.UINT8, list(range(256)) * 40),
    }  # fmt: skip
    told = _info(_file(tmp_path, make_gguf(values)))
    shown = {key: value.value if isinstance(value, Typed) else value for key, value in values.items()}
    expected = {**shown, "nan": None, "infinite": None, "list": [1.5, None, 0.1], "third": 0.33333334}
    expected |= {"f32": 1e-5, "general.parameter_count": told["general.parameter_count"]}
    assert told == expected
    text = model_info(tmp_path / "m.gguf", verbose=False)
    assert b'"whole":10000}' in text
    assert b'"f32":1e-05,' in text


def test_tokens_that_are_not_utf8_are_told_all_the_same(tmp_path: Path) -> None:
    tokens = b"".join(raw_text(text) for text in (b"\xff\xfe", b"ok", "né".encode()))
    pair = raw_pair("tokenizer.ggml.tokens", Kind.ARRAY, struct.pack("<IQ", Kind.STRING, 3) + tokens)
    told = _info(_file(tmp_path, make_gguf({"general.architecture": "llama"}, pairs=[pair])))
    assert told["tokenizer.ggml.tokens"] == ["\ufffd\ufffd", "ok", "né"]


def test_tensors_are_told_in_their_order(tmp_path: Path) -> None:
    for path in _models(tmp_path):
        reader, (header, _) = GGUFReader(path), read_header(path)
        expected = [(tensor.name, tensor.tensor_type.name, tensor.shape.tolist()) for tensor in reader.tensors]
        assert [(tensor.name, tensor.type, tensor.shape) for tensor in tensor_infos(path)] == expected
        places = [(int(tensor.data_offset), int(tensor.n_bytes)) for tensor in reader.tensors]
        assert [(header.data_offset + each.offset, each.size) for each in header.tensor_list] == places
        assert (header.data_offset, header.file_size) == (reader.data_offset, path.stat().st_size)


def test_an_unknown_type_of_tensor_has_a_name(tmp_path: Path) -> None:
    path = _file(tmp_path, make_gguf(tensors=[RawTensor("t", (8,), 99)]))
    assert [tensor.type for tensor in tensor_infos(path)] == ["unknown(99)"]


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, make_gguf()[:100])
    with pytest.raises(GGUFError):
        model_info(path, verbose=True)
    with pytest.raises(GGUFError):
        tensor_infos(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_floats_are_as_short_as_can_be(values: list[float]) -> None:
    for value, text in zip(values, short_float32(values), strict=True):
        assert np.float32(text) == np.float32(value)
        if abs(value) >= np.finfo(np.float32).tiny:
            assert float(text) == float(np.format_float_scientific(np.float32(value), unique=True))


@settings(max_examples=50, deadline=None)
@given(st.floats())
def test_doubles_are_told_exactly(value: float) -> None:
    read = msgspec.json.decode(json_float64([value])[0])
    assert read == value if abs(value) < float("inf") else read is None


def test_a_large_vocabulary_is_told_in_a_moment(tmp_path: Path) -> None:
    count = 150_000
    values = {
        **LLAMA,
        "tokenizer.ggml.tokens": [f"token{n}" for n in range(count)],
        "tokenizer.ggml.merges": [f"to ken{n}" for n in range(count)],
        "tokenizer.ggml.scores": [-n / 7 for n in range(count)],
        "tokenizer.ggml.token_type": Typed(Kind.INT32, [1] * count),
    }
    path = _file(tmp_path, make_gguf(values))
    begin = time.process_time()
    brief = model_info(path, verbose=False)
    middle = time.process_time()
    whole = model_info(path, verbose=True)
    assert middle - begin < 0.3
    assert time.process_time() - middle < 2
    assert len(brief) < 2000 < len(whole)
    assert msgspec.json.decode(whole)["tokenizer.ggml.merges"] == values["tokenizer.ggml.merges"]
