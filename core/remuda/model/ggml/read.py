"""A GGML file, read and checked as a whole.

The library that loads such files believes what they say, takes memory for it, and does not notice where a file ends: so
every tensor that the model should have must be here, whole, and in the shape and the type that it will be taken for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from .check import check_sizes, check_tensor
from .front import Front, read_front
from .header import GGMLError, GGMLHeader, GGMLTensor
from .layout import FILE_TYPES, KNOWN_TYPES, MIXED, known_type
from .llama import check_shared
from .names import expected
from .reader import Reader, opened

__all__ = ["read_ggml", "vocabulary"]

_VERSIONED: Final = 1000
"""So many times the version of the quantisation is in ggml's numbers for how precise the weights are."""


def read_ggml(path: Path, model_type: str = "", texts: Iterable[str] = ()) -> GGMLHeader:
    """The header of a file that is sound, tensors and all. `texts` are those of which it says whether they are tokens.

    `model_type`, however it is spelled, says what kind of model it is; without it the file must tell.

    Blocking: tens of milliseconds for a large vocabulary. Raises `GGMLError`.
    """
    wanted = known_type(model_type) if model_type else ""
    if wanted is None:
        raise GGMLError(f"the model_type {model_type[:80]!r} is not known; it must be one of {KNOWN_TYPES}")
    with opened(path) as reader:
        magic, version = reader.magic()
        front = read_front(reader, magic, wanted, frozenset(texts))
        kind = wanted or front.told
        check_sizes(kind, magic, front.values)
        file_type, quantization = _precision(kind, magic, version, front.values)
        reader.go(front.end)
        tensors = tuple(_tensors(reader, magic, kind, front, quantization))
        return GGMLHeader(
            model_type=kind,
            magic=magic,
            version=version,
            values=_values(kind, front.values, tensors),
            file_type=file_type,
            quantization_version=quantization,
            vocabulary=front.vocabulary,
            scores=magic in front.layout.scores,
            found=front.found.intersection(texts),
            tensor_list=tensors,
        )


def vocabulary(path: Path, header: GGMLHeader) -> Iterator[bytes]:
    """The tokens, by id, as the file has them: those of MPT are UTF-8 whose code points are the bytes.

    Blocking. Raises `GGMLError`.
    """
    with opened(path) as reader:
        reader.go(header.vocabulary[0])
        yield from reader.texts(header.vocabulary_size, "token", scores=header.scores)


def _precision(kind: str, magic: str, version: int, values: dict[str, int | float]) -> tuple[int, int]:
    """GGUF's number for how precise the weights are, and the version of the quantisation."""
    number = int(values["file_type"])
    if kind in MIXED:
        return number, {"ggjt": version - 1, "ggcc": 2}.get(magic, 0)
    quantization, number = divmod(number, _VERSIONED)
    if number not in FILE_TYPES:
        raise GGMLError(f"'file_type' is {number}, which is not supported")
    return FILE_TYPES[number][0], quantization


def _tensors(reader: Reader, magic: str, kind: str, front: Front, quantization: int) -> Iterator[GGMLTensor]:
    """All that are left; exactly those that a model of this kind has."""
    shapes, optional = expected(kind, front.values)
    file_type = int(front.values["file_type"]) % _VERSIONED
    seen: set[str] = set()
    before = "the vocabulary"
    while reader.at < reader.size:
        tensor = reader.tensor(magic, before)
        if tensor.name not in shapes:
            raise GGMLError(f"the tensor {tensor.name!r} is none that {kind} models have")
        if tensor.name in seen:
            raise GGMLError(f"the tensor {tensor.name!r} is there twice")
        check_tensor(kind, quantization, file_type, tensor, shapes[tensor.name])
        seen.add(tensor.name)
        before = f"the tensor {tensor.name!r}"
        yield tensor
    for name in shapes:
        if name not in seen and name not in optional:
            raise GGMLError(f"the tensor {name!r} is missing: the file ends after {before}")


def _values(kind: str, values: dict[str, int | float], tensors: tuple[GGMLTensor, ...]) -> dict[str, int | float]:
    """The sizes, with the number of a LLaMA's heads that its file does not say."""
    if kind != "llama":
        return values
    return {**values, "attention.head_count_kv": int(values["attention.head_count"]) // check_shared(values, tensors)}
