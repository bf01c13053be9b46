"""What of a GGUF file decides how much memory it takes, read without trusting it.

The keys are those of the GGUF specification; what a layer keeps is decided as in llama.cpp's `llama-hparams.cpp` and
`llama-model.cpp`. Layers with a sliding window keep as much as the others: the engine leaves llama.cpp's default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from remuda.model.gguf import ArrayPlace, TensorPlace
from remuda.model.gguf.layout import BOOL, INTEGERS
from remuda.model.gguf.reader import Reader, opened

from ..weights.repack import repacked
from ..weights.slow import quickened

__all__ = ["Anatomy", "Layer", "read_anatomy"]

_MAX: Final = 2**31 - 1
_MAX_LAYERS: Final = 4096
_MAX_EXPERTS: Final = 1024
_BIDIRECTIONAL: Final = frozenset(
    {
        "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "nomic-bert",
        "nomic-bert-moe",
    }
)  # fmt: skip
"""Architectures that continue no text and keep no cache."""
_RECURRENT: Final = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
_BOTH: Final = frozenset({"falcon-h1"})
"""Each layer keeps a cache and a state."""
_INTERVALS: Final = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Every which layer keeps a cache, and the others a state, where the file does not say."""
_CACHES: Final = {"gemma3n": 20}
"""How many layers, the first ones, keep a cache of their own."""


class Layer(Struct, frozen=True):
    """Numbers that a layer keeps: of keys and of values for each token, and of its state for each sequence."""

    keys: int = 0
    values: int = 0
    state: int = 0


class Anatomy(Struct, frozen=True, kw_only=True):
    """Sizes in bytes where nothing else is said."""

    weights: int
    """Of all tensors."""
    repacked: int
    """Of the tensors that are in memory a second time, in another order (`weights/repack`)."""
    embedding: int
    """Of the token embeddings, which stay in system memory."""
    layers: tuple[Layer, ...]
    width: int
    """Numbers in a token's embedding."""
    floats: int
    """Numbers of one token that are held at a time while it is computed."""
    heads: int
    vocabulary: int
    """Tokens."""
    merges: int
    """Rules by which the tokenizer joins tokens."""
    trained: int
    """The longest context, in tokens; 0 is not known."""
    embeds: bool
    """Made to embed, and for nothing else."""


def read_anatomy(path: Path, *, fast: bool = False) -> Anatomy | None:
    """None where the file does not say enough. Blocking: tens of milliseconds. Raises `GGUFError`.

    With `fast`, of the weights as they are once the slow ones are written anew (`weights/slow`).
    """
    with opened(path) as reader:
        return _File(reader).anatomy(fast=fast)


class _File:
    def __init__(self, reader: Reader) -> None:
        self._reader, self._header = reader, reader.header()
        self._kind = self._header.architecture
        self._count = self._number("block_count")

    def anatomy(self, *, fast: bool) -> Anatomy | None:
        width = self._number("embedding_length")
        if not width or not 0 < self._count <= _MAX_LAYERS:
            return None
        heads = self._by_layer("attention.head_count")
        if not any(heads) and self._kind not in _RECURRENT:
            return None
        header, told = self._header, self._header.tensor_list
        tensors = quickened(header) if fast else told
        most = header.file_size + _size(tensors) - _size(told)
        return Anatomy(
            weights=min(_size(tensors), most),
            repacked=min(_size(repacked(tensors)), most),
            embedding=min(_size(tensor for tensor in tensors if tensor.name == "token_embd.weight"), most),
            layers=tuple(self._layers(width, heads)),
            width=width,
            floats=4 * width + self._widest(width, max(heads)),
            heads=max(heads),
            vocabulary=self._length("tokenizer.ggml.tokens"),
            merges=self._length("tokenizer.ggml.merges"),
            trained=self._number("context_length"),
            embeds=self._kind in _BIDIRECTIONAL or f"{self._kind}.pooling_type" in header.values,
        )

    def _layers(self, width: int, heads: list[int]) -> Iterator[Layer]:
        """In their order."""
        caches = self._by_layer("attention.head_count_kv")
        if "attention.head_count_kv" not in self:
            caches = heads
        interval = self._number("full_attention_interval") or _INTERVALS.get(self._kind, 0)
        shared = self._number("attention.shared_kv_layers")
        own = _CACHES.get(self._kind, max(0, self._count - shared))
        keys, values = self._lengths(width, heads)
        state = self._state(width)
        for index, count in enumerate(caches):
            recurs = count == 0 or self._kind in _RECURRENT or (interval > 0 and (index + 1) % interval != 0)
            keeps = 0 if recurs or self._kind in _BIDIRECTIONAL or index >= own else count
            kept = state if recurs or self._kind in _BOTH else 0
            yield Layer(keeps * keys[index], keeps * values[index], kept)

    def _lengths(self, width: int, heads: list[int]) -> tuple[list[int], list[int]]:
        """Numbers of a head's keys and values, by layer."""
        usual = width // max(*heads, 1)
        keys, values = (self._number(f"attention.{name}_length") or usual for name in ("key", "value"))
        slid = (self._number("attention.key_length_swa") or keys, self._number("attention.value_length_swa") or values)
        slides = self._by_layer("attention.sliding_window_pattern")
        if self._number("attention.key_length_mla"):
            values, slid = 0, (slid[0], 0)  # they are computed from the keys
        pairs = [slid if slide else (keys, values) for slide in slides]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def _state(self, width: int) -> int:
        """Numbers that a recurrent layer keeps for a sequence."""
        if head := self._number("wkv.head_size"):
            return (2 + head) * width
        if kernel := self._number("shortconv.l_cache"):
            return (kernel - 1) * width
        inner, state = self._number("ssm.inner_size"), self._number("ssm.state_size")
        turned = max(0, self._number("ssm.conv_kernel") - 1) * (inner + 2 * self._number("ssm.group_count") * state)
        return turned + inner * state

    def _widest(self, width: int, heads: int) -> int:
        """Numbers of a token, in the layer's widest place."""
        feed = max(self._by_layer("feed_forward_length"))
        names = {tensor.name: tensor for tensor in self._header.tensor_list}
        up = names.get("blk.0.ffn_up.weight")
        gated = "blk.0.ffn_gate.weight" in names or (up is not None and up.shape[-1] > feed)
        used = min(self._number("expert_used_count"), _MAX_EXPERTS)
        expert = self._number("expert_feed_forward_length") or feed
        length = self._number("attention.key_length") or width // max(heads, 1)
        return max(
            feed * (3 if gated else 1),
            used * (3 * expert + width),
            3 * heads * length,
            3 * self._number("ssm.inner_size"),
        )

    # --- values ---

    def __contains__(self, key: str) -> bool:
        return f"{self._kind}.{key}" in self._header.values

    def _number(self, key: str) -> int:
        """0 where it is not there, or not possible."""
        value = self._header.of_architecture(key)
        return value if 0 <= value <= _MAX else 0

    def _length(self, key: str) -> int:
        value = self._header.values.get(key)
        return value.length if isinstance(value, ArrayPlace) else 0

    def _by_layer(self, key: str) -> list[int]:
        """One number for each layer, of an array or of a single number."""
        place = self._header.values.get(f"{self._kind}.{key}")
        if not isinstance(place, ArrayPlace):
            return [self._number(key)] * self._count
        if place.kind not in INTEGERS and place.kind != BOOL:
            return [0] * self._count
        found = self._reader.listed_numbers(place, 0, min(place.length, self._count))
        listed = [int(value) if 0 <= value <= _MAX else 0 for value in found]
        return listed + [0] * (self._count - len(listed))


def _size(tensors: Iterable[TensorPlace]) -> int:
    return sum(tensor.size for tensor in tensors)
