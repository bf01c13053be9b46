"""What the sizes of a GGML file must be to each other. The library that loads such files divides by them, and ends the
process, or reads beyond what it has, where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .header import GGMLError, GGMLTensor
from .layout import FILE_TYPES, MIXED, TYPES

__all__ = ["check_sizes", "check_tensor"]

_Values = Mapping[str, int | float]

_COUNTED: Final = frozenset({"gpt2", "starcoder", "gptj", "gptneox", "dolly-v2", "replit"})
"""Types for which the library counts elements in 32 bits."""
_MOST_BLOCKS: Final = {
    "gpt2": 85, "starcoder": 85, "gptj": 104, "gptneox": 80, "dolly-v2": 80, "mpt": 107, "replit": 110, "llama": 107,
    "falcon": 95,
}  # fmt: skip
"""What fits into the 4096 steps that a computation of the library's may have; one more block ends the process."""
_LEAST_HEADS: Final = 2
_LEAST_ROTATED: Final = {"gptj": 0, "gptneox": 2, "dolly-v2": 2}
_HEAD_STEPS: Final = {"llama": 2, "falcon": 8}
"""What the size of an attention head must be a multiple of. LLaMA rotates it in pairs; Falcon's memory is reckoned
without the gaps that follow what is not a multiple of 16 bytes."""
_PRECISE: Final = frozenset({"F32", "F16"})
_REWRITTEN: Final = frozenset({"Q4_0", "Q4_1", "Q8_0"})
"""Types whose blocks were changed twice: the second time by version 2."""
_POSITIONS: Final = "model/wpe"
_FALCON_TOKENS: Final = 12
"""The first ones, which are taken for special."""


def check_sizes(model_type: str, magic: str, values: _Values) -> None:
    """Raises `GGMLError`."""
    if model_type == "falcon" and magic != "ggcc":
        raise GGMLError(
            f"Falcon files that begin with {magic!r} lack the merges of their vocabulary, and cannot be used:"
            " only those that begin with 'ggcc' can; convert it again, best to GGUF"
        )
    if model_type == "llama" and magic == "ggml":
        raise GGMLError(
            "LLaMA files that begin with 'ggml' lack the scores of their vocabulary, and cannot be used:"
            " only those that begin with 'ggmf' or 'ggjt' can; convert it again, best to GGUF"
        )
    blocks, most = int(values["block_count"]), _MOST_BLOCKS[model_type]
    if blocks > most:
        raise GGMLError(
            f"'block_count' is {blocks}; the library that loads it can compute at most {most} in a {model_type} model"
        )
    _check_heads(model_type, values)
    if model_type == "falcon":
        _check_falcon(values)
    if model_type in _COUNTED:
        _check_counts(values)


def check_tensor(model_type: str, version: int, file_type: int, tensor: GGMLTensor, shape: tuple[int, ...]) -> None:
    """`version` is the quantisation's, `file_type` ggml's number, `shape` what it should be. Raises `GGMLError`."""
    found = f"the tensor {tensor.name!r} has"
    if not _fits(tensor.shape, shape):
        wanted = ", ".join(str(size or "any") for size in shape)
        raise GGMLError(f"{found} the shape {list(tensor.shape)}, where [{wanted}] is expected")
    since = 0 if tensor.type in _PRECISE else 2 if tensor.type in _REWRITTEN else 1
    if version < since:
        raise GGMLError(
            f"{found} the type {tensor.type} as it was before version {since} of the quantization, which cannot be"
            " read any more: quantize the model again"
        )
    if len(shape) == 1 or tensor.name == _POSITIONS:
        right = "F32"
    elif model_type in MIXED:
        return
    else:
        right = TYPES[FILE_TYPES[file_type][1]].name
    if tensor.type != right:
        raise GGMLError(f"{found} the type {tensor.type}, where {right} is expected")


def _check_heads(model_type: str, values: _Values) -> None:
    width, heads = int(values["embedding_length"]), int(values["attention.head_count"])
    if heads < _LEAST_HEADS:
        raise GGMLError(
            f"'attention.head_count' is {heads}; it must be at least {_LEAST_HEADS}: with less, the library that loads"
            " it computes several tokens wrongly, or ends"
        )
    if width % heads:
        raise GGMLError(f"'embedding_length' is {width}, which is not a multiple of {heads} attention heads")
    each, rotated = width // heads, int(values.get("rope.dimension_count", 0))
    step = _HEAD_STEPS.get(model_type, 1)
    if each % step:
        raise GGMLError(
            f"'embedding_length' is {width}, so that each of {heads} attention heads has {each};"
            f" in a {model_type} model that must be a multiple of {step}"
        )
    if model_type == "llama" and rotated != each:
        raise GGMLError(f"'rope.dimension_count' is {rotated}; it must be {each}, the size of an attention head")
    least = _LEAST_ROTATED.get(model_type)
    if least is not None and (not least <= rotated <= each or rotated % 2):
        raise GGMLError(f"'rope.dimension_count' is {rotated}; it must be even, and from {least} to {each}")


def _check_falcon(values: _Values) -> None:
    blocks, kind, tokens = values["block_count"], values["falcon_type"], values["vocab_size"]
    heads, keys = int(values["attention.head_count"]), int(values["attention.head_count_kv"])
    if heads % keys:
        raise GGMLError(f"'attention.head_count' is {heads}, which is not a multiple of the {keys} that have keys")
    if blocks not in {32, 60} and kind not in {7, 40}:
        raise GGMLError(f"'falcon_type' is {kind}; it must be 7 or 40")
    if tokens < _FALCON_TOKENS:
        raise GGMLError(f"'vocab_size' is {tokens}; it must be at least {_FALCON_TOKENS}")


def _check_counts(values: _Values) -> None:
    width, tokens = int(values["embedding_length"]), int(values["vocab_size"])
    memory = width * int(values["block_count"]) * int(values["context_length"])
    if max(4 * width * width, width * tokens, memory) >= 2**31:
        raise GGMLError("the sizes of the model multiply to 2^31 or more, which the library that loads it cannot count")


def _fits(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether it is that shape, where 0 is any size; a last dimension of 1 may be missing."""
    if 0 in shape and len(found) != len(shape):
        return False
    pairs = zip((*found, 1)[:2], (*shape, 1)[:2], strict=True)
    return all(wanted in {0, size} for size, wanted in pairs)
