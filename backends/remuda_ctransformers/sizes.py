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
from remuda.residency.memory import available_memory

from .pool import Plan, Pool

__all__ = ["Sizes", "contexts", "sizes_of_ggml", "sizes_of_gguf"]

_CONTEXT: Final = 4 * 2**20
"""Bytes of a context's own buffers, once they were used, beside what computing takes."""
_SPARE: Final = 2
"""A further context is opened where this many times its size is free: other programs shall have some."""
_CONTEXTS: Final = 16
"""The library ends the process at the 32nd of llama.cpp's types, and at the 64th of the others."""
_ROOM: Final = 512 * 2**20
"""Address space that must be left: buffers are larger where nothing was ever written."""
_MOST: Final = 2**62

_MICRO_BATCH: Final = 8
"""The library's own default."""
_LARGEST: Final = 512
_LLAMAS: Final = frozenset({"llama", "falcon"})
_WIDE: Final = frozenset({"gpt2", "starcoder"})
"""Types that keep keys and values in 32 bits; all others in 16."""


class Sizes(Struct, frozen=True, kw_only=True):
    """In bytes, unless it says otherwise."""

    weights: int
    cell: int
    """Of the cache, for each token."""
    trained: int
    """Tokens of the longest context; 0 if the file does not say."""
    fixed: bool
    """The cache is always that long."""
    is_llama: bool
    """Its code was llama.cpp's: weights are mapped, there are vectors, and its buffers fit any micro-batch."""
    pool: Pool

    def plan(self, context: int, num_batch: int | None) -> Plan:
        """What is wished for, in tokens, as far as it can be had."""
        context = min(context, self.trained) if self.trained else context
        if self.is_llama:
            return Plan(context=context, micro_batch=min(num_batch or _MICRO_BATCH, _LARGEST))
        return self.pool.plan(context, min(num_batch or _MICRO_BATCH, _MICRO_BATCH))

    def one(self, context: int, *, mmap: bool) -> int:
        """What a further context of so many tokens costs."""
        copied = 0 if mmap and self.is_llama else self.weights
        cache = self.cell * (self.trained if self.fixed else context)
        computing = self.pool.taken(_MICRO_BATCH, context) if self.is_llama else 0
        return min(copied + cache + computing + _CONTEXT, _MOST)

    def all(self, context: int, count: int, *, mmap: bool) -> int:
        """What `count` contexts hold together."""
        mapped = self.weights if mmap and self.is_llama else 0
        computing = 0 if self.is_llama else self.pool.taken(_MICRO_BATCH, context)
        return min(mapped + computing + count * self.one(context, mmap=mmap), _MOST)


def sizes_of_gguf(header: GGUFHeader) -> Sizes:
    width, heads = header.of_architecture("embedding_length"), header.of_architecture("attention.head_count")
    shared = header.of_architecture("attention.head_count_kv") or heads
    layers = header.of_architecture("block_count")
    return Sizes(
        weights=sum(tensor.size for tensor in header.tensor_list),
        cell=4 * layers * width * shared // max(1, heads),
        trained=header.of_architecture("context_length"),
        fixed=False,
        is_llama=True,
        pool=Pool.of("gguf", layers=layers, width=width, heads=heads, vocabulary=0, cached=2),
    )


def sizes_of_ggml(header: GGMLHeader) -> Sizes:
    kind, width, heads = header.model_type, header.embedding_length, header.head_count
    is_llama, cached = kind in _LLAMAS, 4 if kind in _WIDE else 2
    return Sizes(
        weights=sum(tensor.size for tensor in header.tensor_list),
        cell=2 * cached * header.block_count * width * header.head_count_kv // heads,
        trained=header.context_length,
        fixed=not is_llama and kind != "mpt",
        is_llama=is_llama,
        pool=Pool.of(
            kind,
            layers=header.block_count,
            width=width,
            heads=heads,
            vocabulary=header.vocabulary_size,
            cached=cached,
        ),
    )


def contexts(sizes: Sizes, context: int, wished: int, *, mmap: bool, opened: int = 0) -> int:
    """How many contexts there shall be, with those that are opened: at least one, at most `wished`."""
    wished = min(wished, _CONTEXTS)
    room = available_memory() - (0 if opened else sizes.all(context, 1, mmap=mmap))
    if (bound := _address_space()) is not None:
        room = min(room, bound)
    return max(1, opened, min(wished, max(1, opened) + room // (_SPARE * sizes.one(context, mmap=mmap))))


def _address_space() -> int | None:
    """Bytes that this process may have beside those that it has; None without a bound."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms - _ROOM
