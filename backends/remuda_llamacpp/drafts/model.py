"""A draft model: a smaller one with the same vocabulary, whose guesses cost less than the tokens they spare.

It has a context of its own with one cache, for whichever text is written alone at the moment. What it holds of a text
stays until it is asked for more: then what both texts have in common at the beginning is kept, the rest is cut off, and
what is missing is read. So guesses that were wrong, and sequences that come and go, need no care.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from remuda.errors import EngineError

from .. import _native, log
from ..batch import Batch
from ..sampler import logits_of
from ..sizes import DRAFT_STRETCH
from ..slots import Tokens, common
from ..vocab import LlamaVocabulary
from .acceptance import Acceptance

__all__ = ["DraftModel"]

_LIKELY: Final = 0.4
"""A draft ends before a token that the draft model itself thinks less likely. llama.cpp's own examples do likewise."""

_SMOOTH: Final = 4


class DraftModel:
    """Guesses for one text at a time. `close` frees the model and its context."""

    def __init__(
        self,
        model: _native.Model,
        context: _native.Context,
        *,
        vocabulary: int,
        room: int,
        most: int,
        sizes: dict[str, int],
    ) -> None:
        """`vocabulary`: tokens that it shares with the model it drafts for. `room`: tokens that the context has room
        for, many more than `most`, the longest draft.
        """
        memory = _native.context_memory(context)
        assert memory is not None, "it can continue a text"
        self._model, self._context, self._memory = model, context, memory
        self.vocabulary, self.room, self.most = vocabulary, room, most
        self.sizes = sizes
        """Bytes; as `Engine.sizes`."""
        self._pieces = LlamaVocabulary(_native.model_vocab(model))
        self._batch = Batch(DRAFT_STRETCH)
        self._tokens = np.empty(room, np.int32)
        self._held = 0
        """So many of `_tokens` are in the cache."""
        self._owner = ""
        self.acceptance = Acceptance()
        """Of all texts: how often two models agree depends on them more than on the text."""
        self.trust = 0.5
        """How much of the time that texts take may be spent on finding out what its guesses are worth."""
        self._threads = 0
        self._first = self._further = 0.0
        """Nanoseconds that a decode takes for its first row, and for each of the others."""

    def serve(self, owner: str, threads: int) -> None:
        """The text that comes next is that of `owner`: what was read for another is forgotten. `threads` compute it."""
        if threads != self._threads:
            self._threads = threads
            _native.set_threads(self._context, threads, threads)
        if owner != self._owner:
            self._owner = owner
            self._cut(0)

    def missing(self, text: Tokens) -> int:
        """Tokens of `text` that must be read before a guess at what follows: at least 1, the last one."""
        return len(text) - min(common(self._tokens[: self._held], text), len(text) - 1)

    def read(self, text: Tokens) -> None:
        """Read a stretch of what is missing."""
        self._cut(len(text) - self.missing(text))
        self._decode(text[self._held : self._held + DRAFT_STRETCH])

    def guess(self, text: Tokens, most: int) -> list[int]:
        """What follows `text`, of which a stretch is missing at most: up to `most` tokens, fewer where it is unsure."""
        self.read(text)
        guesses: list[int] = []
        while (token := self._likely()) is not None:
            guesses.append(token)
            if len(guesses) == most:
                break
            self._decode(np.array([token], np.int32))
        return guesses

    def cost(self, count: int) -> float:
        """Nanoseconds that it takes to read so many tokens at once, from 1 on; 0 if that is not known yet."""
        return self._first + (count - 1) * self._further

    def close(self) -> None:
        _native.context_free(self._context)
        _native.model_free(self._model)

    def _cut(self, count: int) -> None:
        """Keep so many tokens."""
        if count < self._held:
            _native.memory_remove(self._memory, 0, count, -1)
            self._held = count

    def _decode(self, tokens: Tokens) -> None:
        """These come next; the last of them has logits."""
        count = len(tokens)
        batch = self._batch.prompt(tokens, self._held, 0, last=True)
        began = time.perf_counter_ns()
        result = _native.decode(self._context, batch)
        if result != 0:
            raise EngineError(f"llama.cpp could not decode with the draft model (code {result}): {log.last_error()}")
        self._note(count, time.perf_counter_ns() - began)
        self._tokens[self._held : self._held + count] = tokens
        self._held += count

    def _note(self, count: int, spent: int) -> None:
        if count == 1:
            self._first = _learnt(self._first, spent)
        else:
            self._further = _learnt(self._further, (spent - self._first) / (count - 1))

    def _likely(self) -> int | None:
        """The likeliest token after those that were decoded; None if it is not likely enough, or ends the text."""
        logits = logits_of(self._context, -1, self.vocabulary)
        token = int(np.argmax(logits))
        share = float(np.sum(np.exp(logits - logits[token])))
        # Also where that is no number.
        if not share <= 1 / _LIKELY or self._pieces.piece(token) is None:
            return None
        return token


def _learnt(known: float, seen: float) -> float:
    """A shorter time than any before is believed at once: those were stretched by something. 0 is not known."""
    seen = max(seen, 0.0)
    return min(seen, known + (seen - known) / _SMOOTH) if known else seen
