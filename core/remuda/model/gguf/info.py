"""What `/api/show` tells of a GGUF file: its metadata as JSON, and its tensors (Ollama API, "Show")."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ...wire.manage import TensorInfo
from .header import ArrayPlace, TextPlace
from .layout import FLOAT32, FLOAT64, STRING
from .numbers import json_float32, json_float64
from .reader import Reader, opened

__all__ = ["model_info", "tensor_infos"]

_LEFT_OUT: Final = frozenset({"general.name", "tokenizer.chat_template"})
_CHUNK: Final = 4096
"""Elements of an array that are turned into JSON at a time."""


def model_info(path: Path, *, verbose: bool) -> bytes:
    """The metadata as a JSON object, keys sorted, with `general.parameter_count`; without the name and the template.

    Unless `verbose`, null stands for all arrays but empty ones, and for endless texts. Bytes that are not UTF-8 are
    replaced, numbers that JSON cannot say are null. Blocking: a tenth of a second for a large vocabulary, more when
    `verbose`. Raises `GGUFError`.
    """
    with opened(path) as reader:
        header = reader.header()
        values = {key: value for key, value in header.values.items() if key not in _LEFT_OUT}
        values["general.parameter_count"] = header.parameters
        written = bytearray(b"{")
        for key in sorted(values):
            written += b"," if len(written) > 1 else b""
            written += msgspec.json.encode(key) + b":"
            for piece in _value(reader, values[key], verbose=verbose):
                written += piece
        return bytes(written + b"}")


def tensor_infos(path: Path) -> list[TensorInfo]:
    """In the file's order. Blocking. Raises `GGUFError`."""
    with opened(path) as reader:
        found = reader.header().tensor_list
        return [TensorInfo(tensor.name, tensor.type, list(tensor.shape)) for tensor in found]


def _value(reader: Reader, value: Any, *, verbose: bool) -> Iterator[bytes]:
    if isinstance(value, float):
        yield json_float64([value])[0].encode()
    elif isinstance(value, ArrayPlace):
        yield from _array(reader, value) if verbose or not value.length else (b"null",)
    elif isinstance(value, TextPlace):
        yield msgspec.json.encode(reader.long_text(value).decode("utf-8", "replace")) if verbose else b"null"
    else:
        yield msgspec.json.encode(value)


def _array(reader: Reader, place: ArrayPlace) -> Iterator[bytes]:
    texts = reader.listed_texts(place) if place.kind == STRING else iter(())
    yield b"["
    for begin in range(0, place.length, _CHUNK):
        count = min(_CHUNK, place.length - begin)
        if begin:
            yield b","
        if place.kind == STRING:
            yield msgspec.json.encode([next(texts).decode("utf-8", "replace") for _ in range(count)])[1:-1]
        else:
            yield _numbers(place.kind, reader.listed_numbers(place, begin, count))
    yield b"]"


def _numbers(kind: int, values: tuple[Any, ...]) -> bytes:
    if kind == FLOAT32:
        return ",".join(json_float32(values)).encode()
    if kind == FLOAT64:
        return ",".join(json_float64(values)).encode()
    return msgspec.json.encode(values)[1:-1]
