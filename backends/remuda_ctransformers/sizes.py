"""What a model holds in memory, and how many contexts of it there is room for.

The library has no way to open a second context of a model: each is the model loaded once more. Where its weights are
mapped that costs only the cache of the context, for the system keeps one copy of a file; else it costs all of it.
"""

from __future__ import annotations

from typing import Final

import psutil
from msgspec import Struct

from remuda.model.ggml import GGMLHeader
from remuda.model.gguf import GGUFHeader

__all__ = ["Sizes", "chunk", "contexts", "sizes_of_ggml", "sizes_of_gguf"]

_COMPUTE: Final = 64 * 2**20
"""What the buffers of a context come to, once they were used; they are larger where nothing was ever written."""
_SPARE: Final = 2
"""A further copy of weights is loaded where this many times its size is free: other programs shall have some."""
_MOST: Final = 2**62

_CHUNK: Final = 8
"""The library's own default. Its buffers for most types of models have a fixed size, made for this."""
_LARGEST_CHUNK: Final = 512
_SCALED: Final = frozenset({"gguf", "llama", "falcon"})
"""Types whose buffers fit micro-batches of up to 512 tokens."""
_MAPPED: Final = frozenset({"llama", "falcon"})
_WIDE_CACHE: Final = frozenset({"gpt2", "starcoder"})
"""Types that keep keys and values in 32 bits."""


class Sizes(Struct, frozen=True, kw_only=True):
    """In bytes, unless it says otherwise."""

    weights: int
    cell: int
    """Of the cache, for each token."""
    trained: int
    """Tokens of the longest context; 0 if the file does not say."""
    fixed: bool
    """The cache is always that long."""
    mappable: bool
    """The weights can be mapped."""
    embeds: bool
    """The model gives vectors."""

    def cache(self, context: int) -> int:
        return min(self.cell * (self.trained if self.fixed else context), _MOST)

    def one(self, context: int, *, mmap: bool) -> int:
        """What a further context costs."""
        copied = 0 if mmap and self.mappable else self.weights
        return min(copied + self.cache(context) + _COMPUTE, _MOST)

    def all(self, context: int, count: int, *, mmap: bool) -> int:
        """What `count` contexts hold together."""
        mapped = self.weights if mmap and self.mappable else 0
        return min(mapped + count * self.one(context, mmap=mmap), _MOST)


def sizes_of_gguf(header: GGUFHeader) -> Sizes:
    width, heads = header.of_architecture("embedding_length"), header.of_architecture("attention.head_count")
    shared = header.of_architecture("attention.head_count_kv") or heads
    return Sizes(
        weights=sum(tensor.size for tensor in header.tensor_list),
        cell=4 * header.of_architecture("block_count") * width * shared // max(1, heads),
        trained=header.of_architecture("context_length"),
        fixed=False,
        mappable=True,
        embeds=True,
    )


def sizes_of_ggml(header: GGMLHeader) -> Sizes:
    kind, each = header.model_type, 4 if header.model_type in _WIDE_CACHE else 2
    return Sizes(
        weights=sum(tensor.size for tensor in header.tensor_list),
        cell=2 * each * header.block_count * header.embedding_length * header.head_count_kv // header.head_count,
        trained=header.context_length,
        fixed=kind not in _SCALED and kind != "mpt",
        mappable=kind in _MAPPED,
        embeds=kind in _SCALED,
    )


def contexts(sizes: Sizes, context: int, wished: int, *, mmap: bool) -> int:
    """How many contexts to open beside what is in memory now: at least one, at most `wished`."""
    one = sizes.one(context, mmap=mmap)
    room = psutil.virtual_memory().available - (sizes.all(context, 1, mmap=mmap))
    return max(1, min(wished, 1 + room // (_SPARE * one)))


def chunk(model_type: str, num_batch: int | None) -> int:
    """Prompt tokens in a micro-batch."""
    most = _LARGEST_CHUNK if model_type in _SCALED else _CHUNK
    return min(num_batch or _CHUNK, most)
