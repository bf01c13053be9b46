"""One decode: with the threads and the kind of attention that suit it, timed, and such that it can be aborted.

An abort ends the reading of one prompt within a node of the graph; it never meets another sequence's token, because
the flag is only raised while that prompt's own stretch is decoded.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from remuda.errors import EngineError

from .. import _native, log
from ..abort import AbortFlag
from ..load import Loaded
from ..threads.control import ThreadControl, Work
from ..threads.places import Places
from .attention import Attention

__all__ = ["ABORTED", "DONE", "NO_ROOM", "Decoder"]

DONE: Final = 0
NO_ROOM: Final = 1
ABORTED: Final = 2


class Decoder:
    """Of one context, for the engine's thread; `interrupt` is for any thread."""

    def __init__(self, loaded: Loaded) -> None:
        self.context = loaded.context
        self.control = ThreadControl(loaded.threads)
        self.places = Places()
        self.attention = Attention(loaded.context)
        self._abort = AbortFlag(loaded.context)
        self._lock = threading.Lock()
        self._threads = 0
        self._reading = -1
        self._doomed: set[int] = set()
        """Sequences that were interrupted: no more work on their prompts."""
        self.spent = 0
        """Nanoseconds that the last decode took."""

    def write(self, batch: _native.Batch, rows: int, *, alone: bool) -> int:
        """Decode the next tokens of sequences. `alone`: as for `Attention.apart`."""
        self.attention.apart(alone)
        return self._decode(batch, Work.DECODE, rows)

    def read(self, batch: _native.Batch, rows: int, id: int, *, apart: bool, whole: bool) -> int:
        """Decode a stretch of the prompt of `id`; `ABORTED` if it was interrupted. `whole`: all its tokens see all."""
        with self._lock:
            if id in self._doomed:
                return ABORTED
            self._reading = id
        self.attention.apart(apart)
        if whole:
            _native.set_causal(self.context, False)
        try:
            return self._decode(batch, Work.PREFILL, rows)
        finally:
            if whole:
                _native.set_causal(self.context, True)
            with self._lock:
                self._reading = -1
                self._abort.lower()

    def interrupt(self, id: int) -> None:
        """From any thread: no more work on the prompt of `id`, and an end to what is being done."""
        with self._lock:
            self._doomed.add(id)
            if self._reading == id:
                self._abort.lift()

    def doomed(self, id: int) -> bool:
        """Whether `id` was interrupted."""
        return id in self._doomed

    def forget(self, id: int) -> None:
        """`id` is gone."""
        self._doomed.discard(id)

    def _decode(self, batch: _native.Batch, work: Work, rows: int) -> int:
        threads = self.control.threads(work, rows)
        if threads != self._threads:
            self._threads = threads
            _native.set_threads(self.context, threads, threads)
        self.places.take(threads)
        began = time.perf_counter_ns()
        result = _native.decode(self.context, batch)
        self.spent = time.perf_counter_ns() - began
        if result == DONE:
            self.control.note(work, rows, threads, self.spent)
        elif result not in {NO_ROOM, ABORTED}:
            raise EngineError(f"llama.cpp could not decode (code {result}): {log.last_error()}")
        return result
