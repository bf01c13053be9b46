"""The ONNX engine: sequences that take turns, each with a cache of its own.

`SerialEngine` is its base: in every step each sequence that writes goes on by a token, and one of those that read by a
micro-batch. Tokens are chosen by `remuda.sampling` from the logits that the model gives, which is how options, formats
and log probabilities come to work; what is left to do here is to read, to write, and to know when to end.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence as ListOf
from functools import partial

import numpy as np

from remuda.engine import Ended, Event, Failed, LoadSpec, PromptRead, Sequence, SerialEngine
from remuda.errors import EngineError
from remuda.output import Constraint
from remuda.sampling import Choice, Compiled, GrammarFailed, Grammars, Sampler, compile_constraint

from .load import Loaded, load
from .native import Interrupted, Stop
from .slot import Slot

__all__ = ["OnnxEngine"]


class OnnxEngine(SerialEngine):
    """Made by `load`."""

    def __init__(self, loaded: Loaded, parallel: int) -> None:
        super().__init__()
        self._loaded, self._vocabulary = loaded, loaded.vocabulary
        self._slots = [Slot(loaded.decoder, loaded.micro_batch) for _ in range(parallel)]
        self._free = list(self._slots)
        """The one that rested longest first."""
        self._choices: dict[int, Choice] = {}
        self._stops: dict[int, Stop] = {}
        self._grammars = Grammars(self._vocabulary)
        self.vocabulary, self.context, self.parallel = self._vocabulary.size, loaded.context, parallel
        self._computed = self._cached = 0

    @classmethod
    def load(cls, spec: LoadSpec) -> OnnxEngine:
        return cls(load(spec, cls.progress), spec.parallel)

    # --- sequences ---

    def submit(self, sequence: Sequence) -> None:
        self.room_for(sequence, len(self._choices))
        # A control token has no text that a stop string could be found in.
        visible = sequence.options.stop
        self._choices[sequence.id] = Choice.of(sequence, self._vocabulary, self._grammars, visible=visible)
        self._stops[sequence.id] = Stop()
        super().submit(sequence)

    def cancel(self, id: int) -> None:
        super().cancel(id)
        self._stops.pop(id, None)
        if (choice := self._choices.pop(id, None)) is not None:
            choice.close()

    def interrupt(self, id: int) -> None:
        if (stop := self._stops.get(id)) is not None:
            stop.set()

    def complete(self, id: int) -> bytes:
        return self._choices[id].completion() if id in self._choices else b""

    def run(self, sequence: Sequence) -> Generator[Event | None, None, None]:
        # There is one: `submit` takes no more sequences than there are slots.
        slot = max(self._free, key=lambda slot: slot.usable(sequence.tokens, sequence.owner))
        self._free.remove(slot)
        try:
            yield from self._read(slot, sequence)
            yield from self._write(slot, sequence)
        except Interrupted:
            while True:  # until `cancel`, which follows
                yield None
        except GrammarFailed as failed:
            yield Failed(sequence.id, failed.status, str(failed))
        except EngineError as error:
            yield Failed(sequence.id, 500, str(error))
        finally:
            self._free.append(slot)

    def _read(self, slot: Slot, sequence: Sequence) -> Generator[Event | None, None, None]:
        began, stop = time.perf_counter_ns(), self._stops[sequence.id]
        cached = slot.begin(sequence.tokens, sequence.owner)
        slot.read(stop)
        while slot.unread:
            yield None
            slot.read(stop)
        self._computed += len(sequence.tokens) - cached
        self._cached += cached
        yield PromptRead(sequence.id, len(sequence.tokens), cached, time.perf_counter_ns() - began)

    def _write(self, slot: Slot, sequence: Sequence) -> Generator[Event | None, None, None]:
        id, limit = sequence.id, min(sequence.limit, self.context)
        choice, stop = self._choices[id], self._stops[id]
        sampler = Sampler(sequence, self.context, self.vocabulary)
        while True:
            logits = slot.logits[: self.vocabulary]
            if not np.isfinite(logits).all():
                raise EngineError("the model gave no numbers to choose a token by: its weights may be damaged")
            piece = choice.piece(logits, partial(sampler.sample, logits))
            if piece is None:
                return
            yield piece
            if choice.ended:
                return
            if slot.length + 1 < limit:
                slot.write(piece.token, stop)
            elif sequence.shift:
                slot.shift(max(0, sequence.keep), piece.token)
                while slot.unread:
                    yield None
                    slot.read(stop)
            else:
                yield Ended(id, "length", choice.completion())
                return

    # --- text and formats ---

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return self._vocabulary.tokenize(text, bos=bos)

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return self._vocabulary.detokenize(tokens)

    def compile(self, constraint: Constraint) -> Compiled:
        return compile_constraint(constraint, self._grammars)

    # --- sizes, end ---

    def sizes(self) -> dict[str, int]:
        held = sum(slot.held for slot in self._slots)
        return {"size": self._loaded.weights + held * self._loaded.cell, "size_vram": 0}

    def counters(self) -> dict[str, float]:
        return {
            "cells_live": sum(slot.held for slot in self._slots if slot not in self._free),
            "prompt_tokens_computed_total": self._computed,
            "prompt_tokens_cached_total": self._cached,
        }

    def close(self) -> None:
        for id in list(self._choices):
            self.cancel(id)
        self._slots.clear()
        self._free.clear()
