"""The ctransformers engine: a context for each sequence, and tokens chosen from the logits that the library shows.

A context holds one text at a time, so `SerialEngine` is its base: as many sequences take turns as there are contexts,
a token or a micro-batch of a prompt each, and further ones wait until a context is free. They are not computed
together, as llama.cpp's engine computes them: they share the speed of one.

The library's own sampler is not used: it would begin its random numbers anew at each token, and divide by a temperature
of 0. `remuda.sampling` has all that the protocol's options and formats need.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence as ListOf
from functools import partial

import numpy as np

from remuda.engine import Ended, Event, Failed, LoadSpec, PromptRead, Sequence, SerialEngine
from remuda.errors import BadRequest, EngineError
from remuda.output import Constraint
from remuda.sampling import Choice, Compiled, GrammarFailed, Grammars, Guide, Sampler, compile_constraint

from .load import Loaded, load
from .place import Place
from .vocabulary import NativeVocabulary

__all__ = ["CTransformersEngine"]

_BROKEN = "ctransformers could not compute the next token"


class CTransformersEngine(SerialEngine):
    """Made by `load`."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self._loaded = loaded
        self._places = [loaded.place(native) for native in loaded.natives]
        self._free = list(self._places)
        self._choices: dict[int, Choice] = {}
        self._vocabulary = NativeVocabulary(loaded.natives[0], loaded.tokens)
        self._grammars = Grammars(self._vocabulary)
        self.vocabulary = self._vocabulary.size
        self.context, self.parallel = loaded.context, len(self._places)
        self.embed_most, self.embed_room = (1, self.context) if loaded.sizes.embeds else (0, 0)
        self._computed = self._cached = 0

    @classmethod
    def load(cls, spec: LoadSpec) -> CTransformersEngine:
        return cls(load(spec, cls.progress))

    # --- sequences ---

    def submit(self, sequence: Sequence) -> None:
        limit = min(sequence.limit, self.context)
        if not 0 < len(sequence.tokens) < limit:
            raise BadRequest(f"the prompt has {len(sequence.tokens)} tokens; from 1 to {limit - 1} fit")
        if min(sequence.tokens) < 0 or max(sequence.tokens) >= self.vocabulary:
            raise BadRequest(f"the prompt holds a token that is not in the vocabulary (0 to {self.vocabulary - 1})")
        if len(self._choices) >= self.parallel:
            raise EngineError(f"all {self.parallel} sequences are taken")
        visible, guide = self._vocabulary.visible(sequence.visible), None
        if sequence.constraint is not None:
            compiled: Compiled = sequence.compiled or self.compile(sequence.constraint)
            guide = Guide(compiled, self._vocabulary, visible)
        self._choices[sequence.id] = Choice(sequence, guide, self._vocabulary, visible)
        super().submit(sequence)

    def cancel(self, id: int) -> None:
        super().cancel(id)
        if (choice := self._choices.pop(id, None)) is not None:
            choice.close()

    def complete(self, id: int) -> bytes:
        return self._choices[id].completion() if id in self._choices else b""

    def run(self, sequence: Sequence) -> Generator[Event | None, None, None]:
        place = max(self._free, key=lambda place: place.usable(sequence.tokens, sequence.owner))
        self._free.remove(place)
        try:
            yield from self._read(place, sequence)
            yield from self._write(place, sequence)
        finally:
            # The least recently used one is taken where no beginning is shared.
            self._free.append(place)

    def _read(self, place: Place, sequence: Sequence) -> Generator[Event | None, None, None]:
        began = time.perf_counter_ns()
        cached = place.begin(sequence.tokens, sequence.owner)
        while True:
            if not place.read():
                yield Failed(sequence.id, 500, _BROKEN)
                return
            if not place.unread:
                break
            yield None
        self._computed += len(sequence.tokens) - cached
        self._cached += cached
        yield PromptRead(sequence.id, len(sequence.tokens), cached, time.perf_counter_ns() - began)

    def _write(self, place: Place, sequence: Sequence) -> Generator[Event | None, None, None]:
        id, choice, limit = sequence.id, self._choices[sequence.id], min(sequence.limit, self.context)
        sampler = Sampler(sequence, self.context, self.vocabulary)
        while True:
            logits = place.logits()[: self.vocabulary]
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
            if place.length + 1 < limit:
                computed = place.write(piece.token)
            elif sequence.shift:
                place.shift(max(0, sequence.keep), piece.token)
                while (computed := place.read()) and place.unread:
                    yield None
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

    def embed(self, inputs: ListOf[ListOf[int]]) -> list[bytes]:
        """The last layer's state of each input's last token: the only one that the library shows."""
        if not self.embed_most:
            return super().embed(inputs)
        place = self._free.pop(0) if self._free else self._loaded.place(self._loaded.source.open())
        try:
            return [_vector(place, tokens) for tokens in inputs]
        finally:
            if place in self._places:
                self._free.append(place)
            else:
                place.native.close()

    # --- sizes, end ---

    def sizes(self) -> dict[str, int]:
        loaded = self._loaded
        size = loaded.sizes.all(loaded.context, self.parallel, mmap=loaded.source.mmap)
        return {"size": size, "size_vram": 0}

    def counters(self) -> dict[str, float]:
        return {
            "cells_live": sum(place.length for place in self._places if place not in self._free),
            "prompt_tokens_computed_total": self._computed,
            "prompt_tokens_cached_total": self._cached,
        }

    def close(self) -> None:
        for id in list(self._choices):
            self.cancel(id)
        for place in self._places:
            place.native.close()


def _vector(place: Place, tokens: ListOf[int]) -> bytes:
    place.begin(tokens, "")
    while place.unread:
        if not place.read():
            raise EngineError(_BROKEN)
    return place.native.embedding().tobytes()
