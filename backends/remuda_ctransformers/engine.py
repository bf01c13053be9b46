"""The ctransformers engine: a context for each sequence, and tokens chosen from the logits that the library shows.

A context holds one text at a time, so `SerialEngine` is its base: as many sequences take turns as there are contexts,
a token each, and a micro-batch for one that reads its prompt; further ones wait until a context is free. They are not
computed together, as llama.cpp's engine computes them: they share the speed of one. An embedding takes a context, too.

The library's own sampler is not used: it would begin its random numbers anew at each token, and divide by a temperature
of 0. `remuda.sampling` has all that the protocol's options and formats need.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence as ListOf
from functools import partial

import numpy as np

from remuda.engine import Ended, Event, Failed, LoadSpec, PromptRead, Sequence, SerialEngine
from remuda.errors import BadRequest, EngineError
from remuda.output import Constraint
from remuda.sampling import Choice, Compiled, GrammarFailed, Grammars, Sampler, compile_constraint

from .load import Loaded, load
from .slot import Slot
from .vocabulary import NativeVocabulary

__all__ = ["CTransformersEngine"]

_BROKEN = "ctransformers could not compute the next token"


class CTransformersEngine(SerialEngine):
    """Made by `load`."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self._loaded = loaded
        self._slots = [
            Slot(native, micro_batch=loaded.micro_batch, threads=loaded.threads) for native in loaded.natives
        ]
        self._free = list(self._slots)
        """The one that rested longest first."""
        self._waiting: deque[object] = deque()
        """Those who want one, first come first served."""
        self._choices: dict[int, Choice] = {}
        self._vocabulary = NativeVocabulary(loaded.natives[0], loaded.tokens)
        self._grammars = Grammars(self._vocabulary)
        self.vocabulary = self._vocabulary.size
        self.context, self.parallel = loaded.context, len(self._slots)
        self.embed_most, self.embed_room = (1, self.context) if loaded.sizes.is_llama else (0, 0)
        self._computed = self._cached = 0

    @classmethod
    def load(cls, spec: LoadSpec) -> CTransformersEngine:
        return cls(load(spec, cls.progress))

    # --- sequences ---

    def submit(self, sequence: Sequence) -> None:
        self.room_for(sequence, len(self._choices))
        # A control token has no text that a stop string could be found in.
        visible = sequence.options.stop
        self._choices[sequence.id] = Choice.of(sequence, self._vocabulary, self._grammars, visible=visible)
        super().submit(sequence)

    def cancel(self, id: int) -> None:
        super().cancel(id)
        if (choice := self._choices.pop(id, None)) is not None:
            choice.close()

    def complete(self, id: int) -> bytes:
        return self._choices[id].completion() if id in self._choices else b""

    def run(self, sequence: Sequence) -> Generator[Event | None, None, None]:
        slot = yield from self._taken(sequence.tokens, sequence.owner)
        try:
            yield from self._read(slot, sequence)
            yield from self._write(slot, sequence)
        finally:
            self._free.append(slot)

    def _taken(self, tokens: ListOf[int], owner: str) -> Generator[None, None, Slot]:
        """A slot, as soon as one is free: that from which the text can go on, else the one that rested longest."""
        turn = object()
        self._waiting.append(turn)
        try:
            while self._waiting[0] is not turn or not self._free:
                yield None
            slot = max(self._free, key=lambda slot: slot.usable(tokens, owner))
            self._free.remove(slot)
            return slot
        finally:
            self._waiting.remove(turn)

    def _read(self, slot: Slot, sequence: Sequence) -> Generator[Event | None, None, None]:
        began = time.perf_counter_ns()
        cached = slot.begin(sequence.tokens, sequence.owner)
        while True:
            if not slot.read():
                yield Failed(sequence.id, 500, _BROKEN)
                return
            if not slot.unread:
                break
            yield None
        self._computed += len(sequence.tokens) - cached
        self._cached += cached
        yield PromptRead(sequence.id, len(sequence.tokens), cached, time.perf_counter_ns() - began)

    def _write(self, slot: Slot, sequence: Sequence) -> Generator[Event | None, None, None]:
        id, choice, limit = sequence.id, self._choices[sequence.id], min(sequence.limit, self.context)
        sampler = Sampler(sequence, self.context, self.vocabulary)
        while True:
            logits = slot.logits()[: self.vocabulary]
            if not np.isfinite(logits).all():
                yield Failed(id, 500, "the model gave no numbers to choose a token by: its weights may be damaged")
                return
            try:
                piece = choice.piece(logits, partial(sampler.sample, logits))
            except GrammarFailed as failed:
                yield Failed(id, failed.status, str(failed))
                return
            if piece is None:
                return
            yield piece
            if choice.ended:
                return
            if slot.length + 1 < limit:
                computed = slot.write(piece.token)
            elif sequence.shift:
                slot.shift(max(0, sequence.keep), piece.token)
                computed = True
                while computed and slot.unread:
                    yield None
                    computed = slot.read()
            else:
                yield Ended(id, "length", choice.completion())
                return
            if not computed:
                yield Failed(id, 500, _BROKEN)
                return

    # --- text, formats, vectors ---

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return self._vocabulary.tokenize(text, bos=bos)

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return self._vocabulary.detokenize(tokens)

    def compile(self, constraint: Constraint) -> Compiled:
        return compile_constraint(constraint, self._grammars)

    def tokenize_input(self, text: str, limit: int) -> tuple[list[int], int]:
        if not self.embed_most:
            return super().tokenize_input(text, limit)
        tokens = self.tokenize(text)
        if not tokens:
            raise BadRequest("an input holds no tokens, and this model adds none of its own; send some text")
        return tokens[:limit], len(tokens)

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        """The last layer's state of each input's last token: the only one that the library shows."""
        if not self.embed_most:
            return super().embed(inputs)
        slot = yield from self._taken(inputs[0], "")
        try:
            vectors: list[bytes] = []
            for tokens in inputs:
                yield from _embedded(slot, tokens)
                vectors.append(slot.native.embedding().tobytes())
            return vectors
        finally:
            self._free.append(slot)

    # --- sizes, end ---

    def sizes(self) -> dict[str, int]:
        return {"size": self._loaded.size, "size_vram": 0}

    def counters(self) -> dict[str, float]:
        return {
            "cells_live": sum(slot.held for slot in self._slots if slot not in self._free),
            "prompt_tokens_computed_total": self._computed,
            "prompt_tokens_cached_total": self._cached,
        }

    def close(self) -> None:
        for id in list(self._choices):
            self.cancel(id)
        for slot in self._slots:
            slot.native.close()


def _embedded(slot: Slot, tokens: ListOf[int]) -> Generator[None, None, None]:
    """A micro-batch at a time."""
    slot.begin(tokens, "")
    while True:
        if not slot.read():
            raise EngineError(_BROKEN)
        if not slot.unread:
            return
        yield
