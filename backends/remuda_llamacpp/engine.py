"""The llama.cpp engine: continuous batching over the low-level API.

A step is one decode of one token for every sequence that is writing, and then a stretch of prompt for one that is
reading (or several short ones). They are separate decodes on purpose:

- A stretch always begins at a multiple of its length from the start of the text, and nothing else is in its batch:
  every prompt is cut at the same places whoever else is there. Together with `attention`, that makes greedy texts
  the same, byte for byte, alone and in company, wherever the matrix kernels treat each row by itself.
- An interrupt aborts the reading of one sequence, never another's token.
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

from remuda.engine import Ended, Engine, Event, Failed, LoadSpec, Piece, PromptRead, Sequence
from remuda.errors import BadRequest, EngineError

from . import _native, log
from .abort import AbortFlag
from .attention import Attention
from .batch import Batch
from .live import Live
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
        self._batch = Batch(max(loaded.most, loaded.parallel))
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
        return cls(spec.name, load(spec))

    def set_threads(self, decode: int, prefill: int) -> None:
        """Compute threads for writing and for reading, from the next step on."""
        _native.set_threads(self._context, max(1, decode), max(1, prefill))

    # --- sequences ---

    def submit(self, sequence: Sequence) -> None:
        if self._native.memory is None:
            raise BadRequest(f'"{self._name}" does not support generate')
        limit = min(sequence.limit, self.context)
        if not 0 < len(sequence.tokens) < limit:
            raise BadRequest(f"the prompt has {len(sequence.tokens)} tokens; from 1 to {limit - 1} fit")
        if min(sequence.tokens) < 0 or max(sequence.tokens) >= self.vocabulary:
            raise BadRequest(f"the prompt holds a token that is not in the vocabulary (0 to {self.vocabulary - 1})")
        taken = {live.slot for live in self._live.values()}
        # The lowest free slot: a decode is one micro-batch for each run of neighbouring slots.
        slot = next((slot for slot in range(self.parallel) if slot not in taken), None)
        if slot is None:
            raise EngineError(f"all {self.parallel} sequences are taken")
        sampler = Sampler(sequence, self.context, self._vocabulary, self._suppressed)
        self._live[sequence.id] = Live(sequence, slot, limit, sampler)

    def cancel(self, id: int) -> None:
        live = self._live.pop(id, None)
        self._doomed.discard(id)
        if live is not None:
            _native.memory_remove(self._memory, live.slot, -1, -1)
            live.sampler.close()

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
                self._end(live, Ended(live.id, "length"), events)
            else:
                writing.append(live)
        if not writing:
            return
        writing.sort(key=_slot)
        slots = [live.slot for live in writing]
        self._attention.alone(_any_alone(slots))
        batch = self._batch.next_tokens([live.token for live in writing], [live.held for live in writing], slots)
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
            count = live.unread if live.unread <= self._native.most else self._native.stretch
            if count > room or not self._read_stretch(live, count, events):
                return
            room -= count

    def _read_stretch(self, live: Live, count: int, events: list[Event]) -> bool:
        """Whether it was read, and not cut short."""
        last = count == live.unread
        live.started = live.started or time.perf_counter_ns()
        self._attention.alone(count == 1)
        tokens = live.prompt[live.held : live.held + count]
        batch = self._batch.prompt(tokens, live.held, live.slot, last=last)
        with self._lock:
            if live.id in self._doomed:
                return False
            self._reading = live.id
        try:
            done = self._decode(batch, [live], events)
        finally:
            with self._lock:
                self._reading = -1
                self._abort.lower()
        if not done:
            return False
        live.held += count
        if last:
            spent = time.perf_counter_ns() - live.started
            events.append(PromptRead(live.id, len(live.prompt), 0, spent))
            self._choose(live, count - 1, events)
        return True

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
        token = live.sampler.sample(self._context, row)
        data = self._vocabulary.piece(token)
        if data is None:
            self._end(live, Ended(live.id, "stop"), events)
        else:
            live.token = token
            events.append(Piece(live.id, token, data))
            if live.full and not live.may_shift(self._memory):
                self._end(live, Ended(live.id, "length"), events)

    def _end(self, live: Live, event: Event, events: list[Event]) -> None:
        self.cancel(live.id)
        events.append(event)

    # --- text, sizes, end ---

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return self._vocabulary.tokenize(text, bos=bos)

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return self._vocabulary.detokenize(tokens)

    def sizes(self) -> dict[str, int]:
        return log.buffer_sizes()

    def close(self) -> None:
        for id in list(self._live):
            self.cancel(id)
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
