"""GGML files written byte by byte: a sound one of each layout, with weights of zero, to be changed and spoiled.

All of them load with ctransformers 0.2.27 as they are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["GGMLFile", "Piece", "every_layout"]

_MAGICS = {"ggml": b"lmgg", "ggmf": b"fmgg", "ggjt": b"tjgg", "ggcc": b"ccgg"}
_VERSIONS = {"ggmf": 1, "ggjt": 3, "ggcc": 10}
_BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 14: (256, 210)}
"""By the number of a type: elements of a block, and its bytes."""
_WIDTH, _WIDE, _HEADS, _LAYERS, _CONTEXT = 32, 128, 2, 2, 16
_TOKENS = [bytes([byte]) for byte in range(256)]
_COUNT = 257
_NUMBER = re.compile(r"(?<=[.h])\d+(?=[./])")
"""Of the block, in a tensor's name."""
_Shapes = Mapping[str, tuple[int, ...]]


class Piece(NamedTuple):
    """A tensor; without `data` it is all zeros."""

    name: str | bytes
    shape: tuple[int, ...]
    type: int = 0
    data: bytes | None = None


class GGMLFile(NamedTuple):
    """What a file is made of."""

    magic: str
    sizes: tuple[int | float, ...]
    """The numbers between the magic and the vocabulary, 32 bits each."""
    tokens: list[bytes]
    pieces: list[Piece]
    scores: bool = False
    merges: list[bytes] | None = None
    """Two texts for each merge."""
    version: int | None = None
    """None is the newest one of the magic."""

    def head(self) -> bytes:
        """All before the tensors."""
        version = _VERSIONS.get(self.magic) if self.version is None else self.version
        data = _MAGICS[self.magic] + (b"" if version is None else struct.pack("<I", version))
        data += b"".join(struct.pack("<f" if isinstance(size, float) else "<i", size) for size in self.sizes)
        data += b"".join(_text(token) + bytes(4 * self.scores) for token in self.tokens)
        if self.merges is not None:
            data += struct.pack("<I", len(self.merges) // 2) + b"".join(_text(text) for text in self.merges)
        return data

    def written(self) -> bytes:
        data = bytearray(self.head())
        for piece in self.pieces:
            name = piece.name.encode() if isinstance(piece.name, str) else piece.name
            data += struct.pack(f"<{3 + len(piece.shape)}i", len(piece.shape), len(name), piece.type, *piece.shape)
            data += name
            if self.magic in {"ggjt", "ggcc"}:
                data += bytes(-len(data) % 32)
            data += bytes(_size(piece)) if piece.data is None else piece.data
        return bytes(data)

    def sized(self, place: int, size: int | float) -> GGMLFile:
        """With another number at that place among the sizes."""
        return self._replace(sizes=(*self.sizes[:place], size, *self.sizes[place + 1 :]))

    def changed(self, which: str, **fields: Any) -> GGMLFile:
        """With another tensor in place of the one of that name."""
        assert any(piece.name == which for piece in self.pieces)
        pieces = [piece._replace(**fields) if piece.name == which else piece for piece in self.pieces]
        return self._replace(pieces=pieces)

    def quantized(self, type: int, place: int, number: int) -> GGMLFile:
        """With matrices of that type, and its number at that place among the sizes."""
        pieces = [
            piece._replace(type=type) if len(piece.shape) == 2 and piece.name != "model/wpe" else piece
            for piece in self.pieces
        ]
        return self._replace(pieces=pieces).sized(place, number)

    def shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> GGMLFile:
        """With other shapes for the tensors whose names hold these texts."""
        pieces = [
            piece._replace(shape=next((shape for part, shape in shapes.items() if part in piece.name), piece.shape))
            for piece in self.pieces
        ]
        return self._replace(pieces=pieces)

    def deep(self, count: int, place: int) -> GGMLFile:
        """With so many blocks, all like the first one; their number is at that place among the sizes."""
        outer = [piece for piece in self.pieces if not _NUMBER.search(piece.name)]
        first = [piece for piece in self.pieces if _NUMBER.findall(piece.name) == ["0"]]
        blocks = [
            piece._replace(name=_NUMBER.sub(str(number), piece.name)) for number in range(count) for piece in first
        ]
        return self._replace(pieces=[*outer, *blocks]).sized(place, count)

    def without(self, name: str) -> GGMLFile:
        return self._replace(pieces=[piece for piece in self.pieces if piece.name != name])


def every_layout() -> dict[str, GGMLFile]:
    """By the type of model. `llama-f` is a LLaMA with the magic ggmf, `falcon-40` one with the tensors of the large
    one."""
    return {name: make() for name, make in _MAKERS.items()}


def _gpt2(extra: bytes = b"x") -> GGMLFile:
    outer = {
        "model/wte": (_WIDTH, _COUNT), "model/wpe": (_WIDTH, _CONTEXT), "model/ln_f/g": (_WIDTH,),
        "model/ln_f/b": (_WIDTH,),
    }  # fmt: skip
    inner = {
        "ln_1/g": (_WIDTH,), "ln_1/b": (_WIDTH,), "ln_2/g": (_WIDTH,), "ln_2/b": (_WIDTH,),
        "attn/c_attn/w": (_WIDTH, 3 * _WIDTH), "attn/c_attn/b": (3 * _WIDTH,),
        "attn/c_proj/w": (_WIDTH, _WIDTH), "attn/c_proj/b": (_WIDTH,), "mlp/c_fc/w": (_WIDTH, _WIDE),
        "mlp/c_fc/b": (_WIDE,), "mlp/c_proj/w": (_WIDE, _WIDTH), "mlp/c_proj/b": (_WIDTH,),
    }  # fmt: skip
    sizes = (_COUNT, _CONTEXT, _WIDTH, _HEADS, _LAYERS, 0, _COUNT)
    return GGMLFile("ggml", sizes, [*_TOKENS, extra], _pieces(outer, "model/h{}/", inner))


def _gptj() -> GGMLFile:
    outer = {"transformer.wte.weight": (_WIDTH, _COUNT), **_norm("transformer.ln_f")}
    outer |= {"lm_head.weight": (_WIDTH, _COUNT), "lm_head.bias": (_COUNT,)}
    inner = {**_norm("ln_1"), **_linear("mlp.fc_in", _WIDTH, _WIDE), **_linear("mlp.fc_out", _WIDE, _WIDTH)}
    inner |= {f"attn.{part}_proj.weight": (_WIDTH, _WIDTH) for part in ("q", "k", "v", "out")}
    sizes = (_COUNT, _CONTEXT, _WIDTH, _HEADS, _LAYERS, 16, 0, _COUNT)
    return GGMLFile("ggml", sizes, [*_TOKENS, b"x"], _pieces(outer, "transformer.h.{}.", inner))


def _gptneox(extra: bytes = b"x") -> GGMLFile:
    outer = {"gpt_neox.embed_in.weight": (_WIDTH, _COUNT), **_norm("gpt_neox.final_layer_norm")}
    outer |= {"embed_out.weight": (_WIDTH, _COUNT)}
    inner = {
        **_norm("input_layernorm"),
        **_norm("post_attention_layernorm"),
        **_linear("attention.query_key_value", _WIDTH, 3 * _WIDTH),
        **_linear("attention.dense", _WIDTH, _WIDTH),
        **_linear("mlp.dense_h_to_4h", _WIDTH, _WIDE),
        **_linear("mlp.dense_4h_to_h", _WIDE, _WIDTH),
    }
    sizes = (_COUNT, _CONTEXT, _WIDTH, _HEADS, _LAYERS, 16, 1, 0)
    return GGMLFile("ggml", sizes, [*_TOKENS, extra], _pieces(outer, "gpt_neox.layers.{}.", inner))


def _mosaic(tokens: list[bytes], *, fractions: tuple[float, ...] = (), scores: bool = False) -> GGMLFile:
    outer = {"transformer.wte.weight": (_WIDTH, _COUNT), "transformer.norm_f.weight": (_WIDTH,)}
    inner = {
        "norm_1.weight": (_WIDTH,), "norm_2.weight": (_WIDTH,), "attn.Wqkv.weight": (_WIDTH, 3 * _WIDTH),
        "attn.out_proj.weight": (_WIDTH, _WIDTH), "ffn.up_proj.weight": (_WIDTH, _WIDE),
        "ffn.down_proj.weight": (_WIDE, _WIDTH),
    }  # fmt: skip
    sizes = (_WIDTH, _CONTEXT, _HEADS, _LAYERS, _COUNT, *fractions, 0)
    return GGMLFile("ggml", sizes, tokens, _pieces(outer, "transformer.blocks.{}.", inner), scores)


def _mpt() -> GGMLFile:
    return _mosaic([*(chr(byte).encode() for byte in range(256)), b"x"], fractions=(8.0, 0.0))


def _replit() -> GGMLFile:
    return _mosaic([*_TOKENS, b"x"], scores=True)


def _llama(magic: str = "ggjt") -> GGMLFile:
    outer = {"tok_embeddings.weight": (_WIDTH, _COUNT), "norm.weight": (_WIDTH,), "output.weight": (_WIDTH, _COUNT)}
    inner = {
        "attention_norm.weight": (_WIDTH,), "ffn_norm.weight": (_WIDTH,),
        **{f"attention.w{part}.weight": (_WIDTH, _WIDTH) for part in "qkvo"},
        "feed_forward.w1.weight": (_WIDTH, 96), "feed_forward.w2.weight": (96, _WIDTH),
        "feed_forward.w3.weight": (_WIDTH, 96),
    }  # fmt: skip
    sizes = (_COUNT, _WIDTH, 32, _HEADS, _LAYERS, 16, 0)
    return GGMLFile(magic, sizes, [*_TOKENS, b"x"], _pieces(outer, "layers.{}.", inner), scores=True)


def _falcon(kind: int = 7) -> GGMLFile:
    outer = {"transformer.word_embeddings.weight": (_WIDTH, _COUNT), **_norm("transformer.ln_f")}
    outer |= {"lm_head.weight": (_WIDTH, _COUNT)}
    inner = _norm("input_layernorm") if kind == 7 else {**_norm("ln_mlp"), **_norm("ln_attn")}
    inner |= {
        "self_attention.query_key_value.weight": (_WIDTH, 64), "self_attention.dense.weight": (_WIDTH, _WIDTH),
        "mlp.dense_h_to_4h.weight": (_WIDTH, _WIDE), "mlp.dense_4h_to_h.weight": (_WIDE, _WIDTH),
    }  # fmt: skip
    sizes = (_COUNT, _WIDTH, _HEADS, 1, _LAYERS, kind, 0, 1)
    pieces = _pieces(outer, "transformer.h.{}.", inner)
    return GGMLFile("ggcc", sizes, [*_TOKENS, b"x"], pieces, scores=True, merges=[b"t", b"h"])


_MAKERS: dict[str, Callable[[], GGMLFile]] = {
    "gpt2": _gpt2,
    "starcoder": lambda: _gpt2(b"<fim_prefix>"),
    "gptj": _gptj,
    "gptneox": _gptneox,
    "dolly-v2": lambda: _gptneox(b"### End"),
    "mpt": _mpt,
    "replit": _replit,
    "llama": _llama,
    "llama-f": lambda: _llama("ggmf"),
    "falcon": _falcon,
    "falcon-40": lambda: _falcon(40),
}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (_WIDTH,), f"{name}.bias": (_WIDTH,)}


def _linear(name: str, row: int, rows: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (row, rows), f"{name}.bias": (rows,)}


def _pieces(outer: _Shapes, block: str, inner: _Shapes) -> list[Piece]:
    shapes = dict(outer)
    for layer in range(_LAYERS):
        shapes |= {block.format(layer) + name: shape for name, shape in inner.items()}
    return [Piece(name, shape) for name, shape in shapes.items()]


def _text(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def _size(piece: Piece) -> int:
    elements = 1
    for size in piece.shape:
        elements *= size
    block, size = _BLOCKS.get(piece.type, (1, 4))
    return min(max(0, elements) // block * size, 2**20)
