"""The llama.cpp engine: continuous batching over the low-level API.

A step is one decode of one token for every sequence that is writing, and then a stretch of prompt for one that is
reading (or several short ones). They are separate decodes on purpose:

- A stretch always begins at a multiple of its length from the start of the text, and nothing else is in its batch:
  every prompt is cut at the same places whoever else is there. Together with `attention`, that makes greedy texts
  the same, byte for byte, alone and in company, wherever the matrix kernels treat each row by itself.
- An interrupt aborts the reading of one sequence, never another's token.
- An image's embeddings are read like a stretch of text, each image and each text between them from its own start. An
  image is encoded before, in a step of its own; running streams wait for that.
- With a cache stream for each sequence, a mixed batch would be cut into two micro-batches anyway.

Streams instead of one unified cache: attention in a unified cache walks over the cells of all sequences for each of
them, and a sequence's cells lie in the order in which they became free, which changes its sums.

Reading is shared out alternately to the oldest reader and to the one that is nearest to its end: a long prompt does
not keep short ones waiting, and is not kept waiting by them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence as ListOf

from remuda.engine import Ended, Engine, Event, Failed, LoadSpec, Media, PromptRead, Sequence
from remuda.errors import BadRequest, EngineError
from remuda.output import Constraint

from . import _native, log
from .abort import AbortFlag
from .attention import Attention
from .batch import Batch
from .choice import Choice
from .constraint import Compiled, Guide, compile_constraint
from .embedding import Embedder
from .grammar import GrammarFailed, Grammars
from .live import Image, Live, lay_out
from .load import Loaded, load
from .sampler import Sampler
from .vocab import Vocabulary

__all__ = ["LlamaEngine"]

_DONE, _NO_ROOM, _ABORTED = 0, 1, 2


class LlamaEngine(Engine):
    """Made by `load`."""

    def __init__(self, name: str, loaded: Loaded) -> None:
        self._name = name
        self._native = loaded
        self._context = loaded.context
        self.parallel = loaded.parallel
        self.context = loaded.length
        self._vocabulary = Vocabulary(_native.model_vocab(loaded.model))
        self.vocabulary = self._vocabulary.size
        self._suppressed = self._vocabulary.suppressed()
        self._grammars = Grammars(self._vocabulary)
        self._batch = Batch(loaded.batch)
        self._embedder = Embedder(loaded, self._vocabulary, self._batch) if loaded.embed_most else None
        self.embed_most, self.embed_room = loaded.embed_most, loaded.embed_room
        self._attention = Attention(loaded.context)
        self._abort = AbortFlag(loaded.context)
        self._lock = threading.Lock()
        self._reading = -1
        self._live: dict[int, Live] = {}
        """In order of arrival."""
        self._doomed: set[int] = set()
        """Live sequences that were interrupted: no more work on their prompts."""
        self._turn = 0

    @classmethod
    def load(cls, spec: LoadSpec) -> LlamaEngine:
        return cls(spec.name, load(spec, cls.progress))

    def set_threads(self, decode: int, prefill: int) -> None:
        """Compute threads for writing and for reading, from the next step on."""
        _native.set_threads(self._context, max(1, decode), max(1, prefill))

    # --- sequences ---

    def submit(self, sequence: Sequence) -> None:
        if self._native.memory is None or self._embedder is not None:
            raise BadRequest(f'"{self._name}" does not support generate')
        limit = min(sequence.limit, self.context)
        if not 0 < len(sequence.tokens) < limit:
            raise BadRequest(f"the prompt has {len(sequence.tokens)} tokens; from 1 to {limit - 1} fit")
        if min(sequence.tokens) < (self.MEDIA if sequence.media else 0) or max(sequence.tokens) >= self.vocabulary:
            raise BadRequest(f"the prompt holds a token that is not in the vocabulary (0 to {self.vocabulary - 1})")
        layout = lay_out(sequence)
        taken = {live.slot for live in self._live.values()}
        # The lowest free slot: a decode is one micro-batch for each run of neighbouring slots.
        slot = next((slot for slot in range(self.parallel) if slot not in taken), None)
        if slot is None:
            raise EngineError(f"all {self.parallel} sequences are taken")
        self._live[sequence.id] = Live(sequence, layout, slot, limit, self._choice(sequence))

    def _choice(self, sequence: Sequence) -> Choice:
        visible, guide = self._vocabulary.visible(sequence.visible), None
        if sequence.constraint is not None:
            compiled: Compiled = sequence.compiled or self.compile(sequence.constraint)
            guide = Guide(compiled, self._vocabulary, visible)
        sampler = Sampler(sequence, self.context, self._vocabulary, self._suppressed)
        return Choice(sequence, sampler, guide, self._vocabulary, visible)

    def cancel(self, id: int) -> None:
        live = self._live.pop(id, None)
        self._doomed.discard(id)
        if live is not None:
            _native.memory_remove(self._memory, live.slot, -1, -1)
            live.choice.close()

    def complete(self, id: int) -> bytes:
        live = self._live.get(id)
        return b"" if live is None else live.choice.completion()

    def interrupt(self, id: int) -> None:
        # Under the lock, so that the flag never meets another sequence's decode.
        with self._lock:
            if id in self._live:
                self._doomed.add(id)
            if self._reading == id:
                self._abort.lift()

    def cells(self, id: int) -> int:
        """Cells of the cache that the live sequence `id` holds; 0 if it is not known."""
        live = self._live.get(id)
        return 0 if live is None else _native.memory_last(self._memory, live.slot) + 1

    # --- work ---

    def step(self) -> list[Event]:
        events: list[Event] = []
        self._write(events)
        self._read(events)
        return events

    def _write(self, events: list[Event]) -> None:
        """One token for each sequence whose prompt is read."""
        writing: list[Live] = []
        for live in list(self._live.values()):
            if live.token < 0:
                continue
            if live.full and not live.make_room(self._memory):
                self._end(live, Ended(live.id, "length", live.choice.completion()), events)
            else:
                writing.append(live)
        if not writing:
            return
        writing.sort(key=_slot)
        slots = [live.slot for live in writing]
        self._attention.alone(_any_alone(slots))
        batch = self._batch.next_tokens([live.token for live in writing], [live.position for live in writing], slots)
        if self._decode(batch, writing, events):
            for row, live in enumerate(writing):
                live.held += 1
                self._choose(live, row, events)

    def _read(self, events: list[Event]) -> None:
        """A stretch of one prompt; further ones while they fit into one stretch together."""
        room = self._native.most
        self._turn += 1
        while readers := [live for live in self._live.values() if live.token < 0 and live.id not in self._doomed]:
            live = min(readers, key=_unread) if self._turn % 2 else readers[0]
            count = live.stretch(self._native.stretch, self._native.most)
            # Only an image that may not be cut is longer than all the room: it gets a step of its own.
            if (count > room and room < self._native.most) or not self._read_stretch(live, count, events):
                return
            room -= count

    def _read_stretch(self, live: Live, count: int, events: list[Event]) -> bool:
        """Whether it was read, and not cut short."""
        last = count == live.unread
        live.started = live.started or time.perf_counter_ns()
        image = live.image
        if image is not None and image.rows is None:
            self._encode(live, image, events)
            return False
        self._attention.alone(count == 1)
        batch = self._stretch(live, count, last=last)
        with self._lock:
            if live.id in self._doomed:
                return False
            self._reading = live.id
        whole = image is not None and image.chunk.whole
        if whole:
            _native.set_causal(self._context, False)
        try:
            done = self._decode(batch, [live], events)
        finally:
            if whole:
                _native.set_causal(self._context, True)
            with self._lock:
                self._reading = -1
                self._abort.lower()
        if not done:
            if live.id in self._live:
                live.again(self._memory)
            return False
        live.advance(count)
        if last:
            spent = time.perf_counter_ns() - live.started
            events.append(PromptRead(live.id, len(live.prompt), 0, spent))
            self._choose(live, count - 1, events)
        return True

    def _stretch(self, live: Live, count: int, *, last: bool) -> _native.Batch:
        image = live.image
        if image is None or image.rows is None:
            tokens = live.prompt[live.held : live.held + count]
            return self._batch.prompt(tokens, live.position, live.slot, last=last)
        begin = live.held - image.start
        values, positions = image.rows.values[begin : begin + count], image.rows.positions[:, begin : begin + count]
        return self._batch.embeddings(values, positions, live.slot, last=last)

    def _encode(self, live: Live, image: Image, events: list[Event]) -> None:
        projector = self._native.projector
        assert projector is not None, "who made the image?"
        try:
            image.rows = projector.encode(image.chunk, live.position)
        except EngineError as error:
            self._end(live, Failed(live.id, error.status, error.message), events)

    def _decode(self, batch: _native.Batch, sequences: ListOf[Live], events: list[Event]) -> bool:
        """Whether the batch is in the cache now. If not, the cache is as it was before.

        An abort leaves the micro-batches done so far in the cache. A stretch is one micro-batch, and llama.cpp takes
        an aborted one out again, so that it is simply read again if nobody cancels it.
        """
        result = _native.decode(self._context, batch)
        if result == _NO_ROOM:
            for live in sequences:
                self._end(live, Failed(live.id, 500, "the cache has no room for this sequence"), events)
        elif result not in {_DONE, _ABORTED}:
            raise EngineError(f"llama.cpp could not decode (code {result}): {log.last_error()}")
        return result == _DONE

    def _choose(self, live: Live, row: int, events: list[Event]) -> None:
        try:
            piece = live.choice.piece(self._context, row)
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
        sizes, projector = log.buffer_sizes(), self._native.projector_sizes
        return {name: size + projector[name] for name, size in sizes.items()}

    def close(self) -> None:
        for id in list(self._live):
            self.cancel(id)
        if self._native.projector is not None:
            self._native.projector.close()
        _native.context_free(self._context)
        _native.model_free(self._native.model)

    @property
    def _memory(self) -> _native.Memory:
        assert self._native.memory is not None, "submit refuses sequences of a model without memory"
        return self._native.memory


def _slot(live: Live) -> int:
    return live.slot


def _unread(live: Live) -> int:
    return live.unread


def _any_alone(slots: list[int]) -> bool:
    """Whether a slot of the ascending `slots` has no neighbour among them."""
    taken = set(slots)
    return any(slot - 1 not in taken and slot + 1 not in taken for slot in slots)
