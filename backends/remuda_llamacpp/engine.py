"""The llama.cpp engine: continuous batching over the low-level API.

A step is one decode of one token for every sequence that is writing (`texts/writer`), and then a stretch of prompt for
one that is reading (`texts/reader`). They are separate decodes on purpose:

- An interrupt aborts the reading of one sequence, never another's token.
- How long running streams wait for a prompt can be bounded, in time.
- With a cache stream for each sequence, a mixed batch would be cut into two micro-batches anyway.

Each sequence has a cache stream of its own, a slot, as long as the whole context; nothing is divided among them. One
unified cache instead would let sequences share cells. But on a CPU attention in it walks over the cells of all
sequences for each of them, those that are only kept for later included, and a sequence's cells lie in the order in
which they became free, which changes its sums. Slots keep what they held when a sequence ends, and a prompt that
begins like one of them goes on from there (`texts/reuse`).

Greedy texts of up to 512 tokens are the same, byte for byte, alone and in company, with a beginning that was reused and
without, guessed ahead or not, wherever the matrix kernels treat each row by itself: see `texts/attention`.
"""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from functools import partial

from remuda.engine import Ended, Engine, Event, Failed, LoadSpec, Media, Sequence
from remuda.errors import BadRequest
from remuda.output import Constraint
from remuda.sampling import Choice, Compiled, GrammarFailed, Grammars, compile_constraint

from . import _native, log
from .batch import Batch
from .embedding import Embedder
from .load import Loaded, load
from .sampler import Sampler, logits_of
from .texts.decoder import Decoder
from .texts.live import Live, lay_out
from .texts.reader import Reader, read
from .texts.reuse import Reuse
from .texts.writer import Writer
from .vocab import LlamaVocabulary

__all__ = ["LlamaEngine"]

_CLOSE_SECONDS = 0.4
"""For saving what is kept: the process ends half a second after it was told to."""


class LlamaEngine(Engine):
    """Made by `load`."""

    def __init__(self, name: str, loaded: Loaded) -> None:
        self._name = name
        self._native = loaded
        self._context = loaded.context
        self.parallel = loaded.parallel
        self.context = loaded.length
        self._vocabulary = LlamaVocabulary(_native.model_vocab(loaded.model))
        self.vocabulary = self._vocabulary.size
        self._suppressed = self._vocabulary.suppressed()
        self._grammars = Grammars(self._vocabulary)
        self._batch = Batch(loaded.batch)
        self._embedder = Embedder(loaded, self._vocabulary, self._batch) if loaded.embed_most else None
        self.embed_most, self.embed_room = loaded.embed_most, loaded.embed_room
        self._live: dict[int, Live] = {}
        """In order of arrival."""
        self._texts = None if loaded.memory is None or self._embedder else _Texts(loaded, self._batch)
        """None for a model that cannot continue a text."""

    @classmethod
    def load(cls, spec: LoadSpec) -> LlamaEngine:
        return cls(spec.name, load(spec, cls.progress))

    # --- sequences ---

    def submit(self, sequence: Sequence) -> None:
        if self._texts is None:
            raise BadRequest(f'"{self._name}" does not support generate')
        limit = self.room_for(sequence, len(self._live))
        layout, choice = lay_out(sequence), Choice.of(sequence, self._vocabulary, self._grammars)
        sampler = Sampler(sequence, self.context, self.vocabulary, self._suppressed)
        self._live[sequence.id] = Live(sequence, layout, limit, choice, sampler)

    def cancel(self, id: int) -> None:
        live = self._live.pop(id, None)
        if self._texts is not None:
            self._texts.decoder.forget(id)
            if live is not None:
                self._texts.reuse.end(live)
                live.choice.close()
                live.sampler.close()

    def complete(self, id: int) -> bytes:
        live = self._live.get(id)
        return b"" if live is None else live.choice.completion()

    def interrupt(self, id: int) -> None:
        if self._texts is not None and id in self._live:
            self._texts.decoder.interrupt(id)

    def cells(self, id: int) -> int:
        """Cells of the cache that the live sequence `id` holds; 0 if it is not known."""
        live = self._live.get(id)
        return 0 if live is None or live.slot < 0 else _native.memory_last(self._memory, live.slot) + 1

    # --- work ---

    def step(self) -> list[Event]:
        events: list[Event] = []
        if self._texts is None or not self._live:
            return events
        writing = [live for live in self._live.values() if live.token >= 0]
        if writing and self._texts.reader.gathers(writing, self._live):
            writing = []
        # Only now: what remains is moved by the next decode, and that must be one that nobody can abort.
        writing = [live for live in writing if self._has_room(live, events)]
        if writing:
            quiet = len(writing) == len(self._live)
            for live, row in self._texts.writer.step(writing, quiet=quiet):
                self._choose(live, row, events)
        for live, row in self._texts.reader.step(self._live, self._texts.writer.room if writing else 0):
            if not isinstance(row, Failed):
                events.append(read(live))
            self._choose(live, row, events)
        return events

    def _has_room(self, live: Live, events: list[Event]) -> bool:
        """Whether there is room for a token more, or some can be made; else `live` ends."""
        if not live.full or live.make_room(self._memory):
            return True
        self._end(live, Ended(live.id, "length", live.choice.completion()), events)
        return False

    def _choose(self, live: Live, row: int | Failed, events: list[Event]) -> None:
        """The next token of `live`, from a row of the logits; or its end, where that is no number."""
        if isinstance(row, Failed):
            self._end(live, row, events)
            return
        try:
            logits = logits_of(self._context, row, self.vocabulary)
            piece = live.choice.piece(logits, partial(live.sampler.sample, self._context, row, logits))
        except GrammarFailed as failed:
            self._end(live, Failed(live.id, failed.status, str(failed)), events)
            return
        if piece is None:
            self._end(live, Ended(live.id, "stop"), events)
            return
        live.token = piece.token
        events.append(piece)
        if live.choice.ended:
            self._end(live, Ended(live.id, "stop"), events)
        elif live.full and not live.may_shift(self._memory):
            self._end(live, Ended(live.id, "length", live.choice.completion()), events)

    def _end(self, live: Live, event: Event, events: list[Event]) -> None:
        self.cancel(live.id)
        events.append(event)

    # --- text, formats, sizes, end ---

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return self._vocabulary.tokenize(text, bos=bos)

    def tokenize_media(self, text: str, images: ListOf[bytes], *, bos: bool = True) -> tuple[list[int], list[Media]]:
        if not images:
            return self.tokenize(text, bos=bos), []
        if self._native.projector is None:
            return super().tokenize_media(text, images, bos=bos)
        return self._native.projector.tokenize(text, images, self._vocabulary, bos=bos, room=self.context - 1)

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return self._vocabulary.detokenize(tokens)

    def tokenize_input(self, text: str, limit: int) -> tuple[list[int], int]:
        return super().tokenize_input(text, limit) if self._embedder is None else self._embedder.tokenize(text, limit)

    def embed(self, inputs: ListOf[ListOf[int]]) -> list[bytes]:
        return super().embed(inputs) if self._embedder is None else self._embedder.embed(inputs)

    def compile(self, constraint: Constraint) -> Compiled:
        return compile_constraint(constraint, self._grammars)

    def sizes(self) -> dict[str, int]:
        sizes, projector, draft = log.buffer_sizes(), self._native.projector_sizes, self._native.draft
        return {name: size + projector[name] + (draft.sizes[name] if draft else 0) for name, size in sizes.items()}

    def counters(self) -> dict[str, float]:
        return {} if self._texts is None else self._texts.counters(self._live)

    def close(self) -> None:
        for id in list(self._live):
            self.cancel(id)
        if self._texts is not None:
            self._texts.reuse.close(_CLOSE_SECONDS)
            self._texts.decoder.places.leave()
        if self._embedder is not None:
            self._embedder.places.leave()
        if self._native.projector is not None:
            self._native.projector.close()
        if self._native.draft is not None:
            self._native.draft.close()
        _native.context_free(self._context)
        _native.model_free(self._native.model)

    @property
    def _memory(self) -> _native.Memory:
        assert self._native.memory is not None, "submit refuses sequences of a model without memory"
        return self._native.memory


class _Texts:
    """What continues texts."""

    def __init__(self, loaded: Loaded, batch: Batch) -> None:
        self.decoder = Decoder(loaded)
        self.reuse = Reuse(loaded)
        self.reader = Reader(loaded, self.decoder, self.reuse, batch)
        self.writer = Writer(loaded, self.decoder, self.reuse, batch)

    def counters(self, lives: dict[int, Live]) -> dict[str, float]:
        """As `Engine.counters`."""
        reader, writer, reuse = self.reader, self.writer, self.reuse
        return {
            "cells_live": sum(live.held for live in lives.values()),
            "cells_kept": reuse.cells,
            "prompt_tokens_computed_total": reader.computed,
            "prompt_tokens_cached_total": reader.cached,
            "prefix_copied_total": reuse.copied,
            "prefix_restored_total": reuse.restored,
            "prefix_saved_total": reuse.offered,
            "tokens_drafted_total": writer.drafted,
            "tokens_accepted_total": writer.accepted,
            "step_seconds": writer.pace / 1e9,
            **self.decoder.control.state(),
        }
