"""A GGML file of a few hundred kilobytes with random weights, which ctransformers really loads.

Its vocabulary has the habits of `tiny_models`: every byte is a token whose id is the byte, and tokens other than
printable ASCII have logits of zero, so that a greedy text is garbage, but printable, and never ends by itself. The same
arguments give the same file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ggml_files import GGMLFile, Piece
from numpy.typing import NDArray
from tiny_models import MERGED

__all__ = ["END", "write_tiny_gpt2"]

END = "<|endoftext|>"
_F32, _F16 = 0, 1
_WIDTH, _LAYERS, _HEADS = 64, 2, 4
_SHAPES = {
    "attn/c_attn": (3 * _WIDTH, _WIDTH), "attn/c_proj": (_WIDTH, _WIDTH), "mlp/c_fc": (4 * _WIDTH, _WIDTH),
    "mlp/c_proj": (_WIDTH, 4 * _WIDTH),
}  # fmt: skip


def write_tiny_gpt2(
    path: Path, *, seed: int = 1, context_length: int = 256, f32: bool = False, extra_tokens: Iterable[str] = ()
) -> Path:
    """A GPT-2. Its tokens are the bytes, those of `MERGED`, `<|endoftext|>`, and `extra_tokens`, in this order.

    Matrices have 16 bits, or with `f32` 32.
    """
    random = np.random.default_rng(seed)
    tokens = [bytes([byte]) for byte in range(256)] + [text.encode() for text in (*MERGED, END, *extra_tokens)]
    output = np.zeros((len(tokens), _WIDTH), np.float32)
    output[32:127] = random.standard_normal((95, _WIDTH)) * 0.3
    # The library copies `model/wte` over what it has of `model/lm_head`, which therefore must come after it.
    values = {
        "model/wte": _matrix(random, len(tokens), _WIDTH, scale=1.0),
        "model/wpe": _matrix(random, context_length, _WIDTH, scale=0.1),
        "model/lm_head": output,
        **_norm("model/ln_f"),
    }
    for layer in range(_LAYERS):
        values |= {f"model/h{layer}/{name}": value for name, value in _block(random).items()}
    pieces = [_piece(name, value, f32=f32) for name, value in values.items()]
    sizes = (len(tokens), context_length, _WIDTH, _HEADS, _LAYERS, _F32 if f32 else _F16, len(tokens))
    path.write_bytes(GGMLFile("ggml", sizes, tokens, pieces).written())
    return path


def _block(random: np.random.Generator) -> dict[str, NDArray[Any]]:
    values = {**_norm("ln_1"), **_norm("ln_2")}
    for name, (rows, columns) in _SHAPES.items():
        values[f"{name}/w"] = _matrix(random, rows, columns)
        values[f"{name}/b"] = np.zeros(rows)
    return values


def _norm(name: str) -> dict[str, NDArray[Any]]:
    return {f"{name}/g": np.ones(_WIDTH), f"{name}/b": np.zeros(_WIDTH)}


def _matrix(random: np.random.Generator, rows: int, columns: int, *, scale: float = 0.0) -> NDArray[Any]:
    """Large enough that what comes in decides what comes out."""
    return random.standard_normal((rows, columns)) * (scale or 2 / columns**0.5)


def _piece(name: str, value: NDArray[Any], *, f32: bool) -> Piece:
    half = value.ndim == 2 and name != "model/wpe" and not f32
    data = value.astype("<f2" if half else "<f4").tobytes()
    return Piece(name, value.shape[::-1], _F16 if half else _F32, data)
