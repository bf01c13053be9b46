"""Texts to vectors: many in one micro-batch, each in a sequence of its own.

A text is computed whole: in most of these models a token looks at those behind it as well, and the vectors of the
tokens are pooled over the whole text. So the micro-batch has room for the longest text, but is not filled up to there
where that is slow. A model that keeps a cache, because its tokens look back only, forgets it after each batch.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence as ListOf
from typing import TYPE_CHECKING, Any

from remuda.errors import BadRequest, EngineError, LoadFailed

from . import _native, log
from .batch import Batch
from .sizes import EMBED_MOST
from .threads.control import ThreadControl, Work
from .threads.places import Places
from .vocab import LlamaVocabulary

if TYPE_CHECKING:
    from .load import Loaded

__all__ = ["Embedder", "has_pooling", "pooling", "shape"]


class Embedder:
    """The part of an engine that embeds. `tokenize` may be called from any thread."""

    def __init__(self, loaded: Loaded, vocabulary: LlamaVocabulary, batch: Batch) -> None:
        self._context, self._memory = loaded.context, loaded.memory
        self._size = ctypes.sizeof(ctypes.c_float) * _native.model_vector(loaded.model)
        self._vocabulary, self._batch = vocabulary, batch
        self._before, self._behind = vocabulary.wrapping()
        self.control = ThreadControl(loaded.threads)
        self.places = Places()

    def tokenize(self, text: str, limit: int) -> tuple[list[int], int]:
        """As `Engine.tokenize_input`."""
        tokens = self._vocabulary.tokenize(text, bos=False)
        length = len(tokens) + len(self._before) + len(self._behind)
        if not length:
            raise BadRequest("an input holds no tokens, and this model adds none of its own; send some text")
        if length > limit:
            room = limit - (length - len(tokens))
            if room <= 0:
                raise BadRequest("input after truncation exceeds maximum context length")
            del tokens[room:]
        return [*self._before, *tokens, *self._behind], length

    def embed(self, inputs: ListOf[ListOf[int]]) -> list[bytes]:
        """As `Engine.embed`."""
        batch, rows = self._batch.texts(inputs), sum(map(len, inputs))
        threads = self.control.threads(Work.EMBED, rows)
        _native.set_threads(self._context, threads, threads)
        self.places.take(threads)
        began = time.perf_counter_ns()
        if self._memory is None:
            result = _native.encode(self._context, batch)
        else:
            result = _native.decode(self._context, batch)
            _native.memory_clear(self._memory, False)
        if result != 0:
            raise EngineError(f"llama.cpp could not embed (code {result}): {log.last_error()}")
        vectors = [self._vector(slot) for slot in range(len(inputs))]
        self.control.note(Work.EMBED, rows, threads, time.perf_counter_ns() - began)
        return vectors

    def _vector(self, slot: int) -> bytes:
        numbers = _native.vector(self._context, slot)
        if not numbers:
            raise EngineError("llama.cpp gave no vector")
        return ctypes.string_at(numbers, self._size)


def has_pooling(model: _native.Model) -> bool:
    """Whether the model's file says how vectors are pooled: it is made to embed then, and nothing else."""
    return _pooling(model) is not None


def pooling(model: _native.Model, name: str) -> int:
    """llama.cpp's number for how the vectors of a text's tokens become one. Raises `LoadFailed`."""
    said = _pooling(model)
    kind = int(said) if said is not None and said.isdecimal() else _native.POOLING_NONE
    if kind == _native.POOLING_RANK:
        raise LoadFailed(f"{name} ranks texts and gives no vectors; models that rank are not supported")
    if kind not in {_native.POOLING_NONE, *_native.POOLINGS}:
        raise LoadFailed(f"{name} pools its vectors in a way that is not known ({kind}); make its GGUF again")
    return _native.POOLING_MEAN if kind == _native.POOLING_NONE else kind


def _pooling(model: _native.Model) -> str | None:
    architecture = _native.model_meta(model, "general.architecture")
    return _native.model_meta(model, f"{architecture}.pooling_type")


def shape(params: Any, pooling: int, tokens: int) -> int:
    """Make a context's `params` those of an embedder with room for `tokens` in a micro-batch; returns the room.

    Rounded up, because llama.cpp plans with as many tokens for each sequence.
    """
    batch = -(-tokens // EMBED_MOST) * EMBED_MOST
    params.embeddings = True
    params.pooling_type = pooling
    params.n_ctx = params.n_batch = params.n_ubatch = batch
    params.n_seq_max = EMBED_MOST
    # One cache for all texts: each may take any part of it.
    params.kv_unified = True
    return batch
