"""Whether a GGUF file may be given to anybody who trusts it: engines, converters, quantizers.

On top of the layout, which reading the header checks, this looks at what the values mean: that tensors lie inside the
file and nowhere twice, that sizes are such as models have, and that token ids are tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .header import ArrayPlace, GGUFError, GGUFHeader, TensorPlace
from .layout import FLOAT32, INT32, INTEGERS, MAX_TEXT, STRING, UINT32, by_name
from .reader import Reader, opened

__all__ = ["check_gguf"]

_MAX_ARCHITECTURE: Final = 64
_MAX_LAYERS: Final = 4096
_SIZES: Final = {
    "block_count": (1, _MAX_LAYERS),
    "context_length": (1, 2**31 - 1),
    "embedding_length": (1, 2**20),
    "vocab_size": (1, 2**24),
    "attention.head_count": (1, 2**16),
    "attention.head_count_kv": (1, 2**16),
    "feed_forward_length": (0, 2**24),
    "attention.key_length": (0, 2**20),
    "attention.value_length": (0, 2**20),
    "rope.dimension_count": (0, 2**20),
    "expert_count": (0, 2**16),
    "expert_used_count": (0, 2**16),
}
"""Smallest and largest. One number for each layer may stand in place of one for all, and then 0 is possible."""
_ENCODER_SIZES: Final = {
    "block_count": (0, _MAX_LAYERS),
    "embedding_length": (0, 2**20),
    "feed_forward_length": (0, 2**24),
    "attention.head_count": (0, 2**16),
    "projection_dim": (0, 2**20),
    "image_size": (0, 2**16),
    "patch_size": (1, 2**16),
}
_SINGLE: Final = frozenset({"block_count", "context_length", "embedding_length", "vocab_size"})
_HEADS: Final = frozenset({"attention.head_count", "attention.head_count_kv"})

_TOKENS: Final = "tokenizer.ggml.tokens"
_PADDING: Final = "tokenizer.ggml.padding_token_id"
_NO_TOKEN: Final = frozenset({-1, 2**32 - 1, 2**64 - 1})
"""What converters write for "there is none"."""
_OF_TOKENS: Final = {"tokenizer.ggml.scores": {FLOAT32, INT32}, "tokenizer.ggml.token_type": {INT32, UINT32}}
_MAX_SHARDS: Final = 2**16 - 1
_LATE: Final = 2
"""The oldest version that is read everywhere."""


def check_gguf(path: Path, *, early: bool = False) -> GGUFHeader:
    """The header of a file that is sound, with tensors or, for a bare vocabulary, without.

    A file of a split GGUF passes by itself: whether its fellows are there is for `merge_shards` to say. One of version
    1 passes only if `early` is set: llama.cpp does not read it any more, and nothing here can copy parts of it.
    Blocking: tens of milliseconds. Raises `GGUFError` that names the field.
    """
    with opened(path) as reader:
        header = reader.header()
        if header.version < _LATE and not early:
            raise GGUFError("GGUF version 1 is read by older engines only: use the backend 'ctransformers'")
        _check_shards(header)
        _check_texts(header)
        _check_sizes(reader, header)
        _check_vocabulary(header)
        _check_tensors(header)
        return header


def _check_shards(header: GGUFHeader) -> None:
    for key in ("split.no", "split.count"):
        if key in header.values:
            _check_number(key, header.values[key], 0, _MAX_SHARDS)
    if header.shard >= header.shards:
        raise GGUFError(f"'split.no' is {header.shard}, but 'split.count' only {header.shards}")
    if "split.tensors.count" in header.values:
        _check_number("split.tensors.count", header.values["split.tensors.count"], header.tensors, 2**31 - 1)


def _check_texts(header: GGUFHeader) -> None:
    architecture = header.values.get("general.architecture")
    silent = architecture is None and header.shard > 0  # of a split GGUF, only the first file says what it is
    if not silent and not (isinstance(architecture, str) and 0 < len(architecture) <= _MAX_ARCHITECTURE):
        raise GGUFError(f"'general.architecture' must be a text of at most {_MAX_ARCHITECTURE} characters")
    for key, value in header.values.items():
        template = key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template.")
        if template and not isinstance(value, str):
            raise GGUFError(f"{key[:80]!r} must be a text of at most {MAX_TEXT} bytes")


def _check_sizes(reader: Reader, header: GGUFHeader) -> None:
    architecture = header.architecture
    # Recurrent models have no heads, and say so.
    recurrent = any(key.startswith((f"{architecture}.ssm.", f"{architecture}.wkv.")) for key in header.values)
    for name, (low, high) in _SIZES.items():
        least = 0 if recurrent and name in _HEADS else low
        _check_size(reader, header, f"{architecture}.{name}", (least, high), listed=name not in _SINGLE)
    for encoder in ("vision", "audio"):
        for name, bounds in _ENCODER_SIZES.items():
            _check_size(reader, header, f"{architecture}.{encoder}.{name}", bounds, listed=name not in _SINGLE)


def _check_size(reader: Reader, header: GGUFHeader, key: str, bounds: tuple[int, int], *, listed: bool) -> None:
    value = header.values.get(key)
    if isinstance(value, ArrayPlace):
        if not listed or value.kind not in INTEGERS or not 0 < value.length <= _MAX_LAYERS:
            raise GGUFError(f"{key!r} must be a number{', or one for each layer' if listed else ''}")
        for number in reader.listed_numbers(value):
            _check_number(key, number, 0, bounds[1])
    elif value is not None:
        _check_number(key, value, *bounds)


def _check_number(key: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise GGUFError(f"{key!r} must be a whole number from {low} to {high}")
    if not low <= value <= high:
        raise GGUFError(f"{key!r} is {value}; it must be from {low} to {high}")


def _check_vocabulary(header: GGUFHeader) -> None:
    tokens = header.values.get(_TOKENS)
    if tokens is None:
        return
    if not isinstance(tokens, ArrayPlace) or tokens.kind != STRING or not tokens.length:
        raise GGUFError(f"{_TOKENS!r} must be a list of texts that is not empty")
    for key, kinds in _OF_TOKENS.items():
        place = header.values.get(key)
        if place is None:
            continue
        if not isinstance(place, ArrayPlace) or place.kind not in kinds or place.length != tokens.length:
            raise GGUFError(f"{key!r} must be a list of {tokens.length} numbers, one for each token")
    for key, id in header.values.items():
        if not key.startswith("tokenizer.ggml.") or not key.endswith("_token_id"):
            continue
        # Published files have padding beyond the vocabulary; engines pass over it.
        if (isinstance(id, int) and id in _NO_TOKEN) or (key == _PADDING and type(id) is int):
            continue
        _check_number(key[:80], id, 0, tokens.length - 1)


def _check_tensors(header: GGUFHeader) -> None:
    names: set[str] = set()
    expected = 0
    for tensor in header.tensor_list:
        if tensor.name in names:
            raise GGUFError(f"the tensor {tensor.name!r} is there twice")
        names.add(tensor.name)
        _check_type(tensor)
        if tensor.offset != expected:
            raise GGUFError(f"the tensor {tensor.name!r} is at offset {tensor.offset}, where {expected} is expected")
        end = header.data_offset + tensor.offset + tensor.size
        if end > header.file_size:
            raise GGUFError(f"the tensor {tensor.name!r} ends at byte {end}, but the file at byte {header.file_size}")
        expected += tensor.size + -tensor.size % header.alignment


def _check_type(tensor: TensorPlace) -> None:
    type = by_name(tensor.type)
    if type is None:
        raise GGUFError(f"the tensor {tensor.name!r} has a type that is not supported: {tensor.type}")
    row = tensor.shape[0] if tensor.shape else 1
    if row % type.block:
        raise GGUFError(
            f"the tensor {tensor.name!r} has rows of {row} elements, which is not a multiple of {type.block},"
            f" as the type {type.name} demands"
        )
