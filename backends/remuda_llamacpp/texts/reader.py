"""Reading prompts, a stretch at a time, beside streams that go on writing.

Whom to read: alternately the oldest reader and the one that is nearest to its end, so that a long prompt does not keep
short ones waiting and is not kept waiting by them. One whose beginning another is just reading waits for it, and takes
it over.

How much: a stretch of fixed length; where nobody writes, several prompts that fit into one together. Where streams
write they wait for each stretch. A short prompt is over at once, and whoever has read it writes with the others, so it
is not cut any smaller. A long one would hold them up for long: its stretches take what their own step leaves of a
bounded time. How many tokens that are follows from what the last stretch took.

Prompts that come together are read one after the other. Whoever is first would write its next tokens alone, and a row
in a decode of its own takes twice the time that it takes among others: so it waits for some of the rest.

An image is encoded before it is read, in a step of its own.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence as ListOf
from typing import Final

from remuda.engine import Failed, PromptRead
from remuda.errors import EngineError

from ..batch import Batch
from ..load import Loaded
from ..threads.control import Work
from .decoder import ABORTED, DONE, NO_ROOM, Decoder
from .live import Image, Live
from .reuse import Reuse

__all__ = ["Reader", "read"]

_LONG: Final = 256
"""Tokens that are to be read when a prompt is begun; a longer one is long."""
_GATHER: Final = 3
"""Stretches that somebody who has just begun to write waits for others to be read."""
_FIRST: Final = 8
"""Tokens in the first stretch, as long as nothing was measured."""


class Reader:
    """Reads for one engine."""

    def __init__(self, loaded: Loaded, decoder: Decoder, reuse: Reuse, batch: Batch) -> None:
        self._loaded, self._decoder, self._reuse, self._batch = loaded, decoder, reuse, batch
        self._turn = self._gathered = 0
        self.computed = self.cached = 0
        """Prompt tokens so far: read, and taken over."""

    def step(self, lives: dict[int, Live], room_ns: int) -> Generator[tuple[Live, int | Failed], None, None]:
        """Read a stretch. Yields whose prompt is read now with the row of its last token, or what went wrong with whom.

        `room_ns`: nanoseconds that those who write can spare for one of a long prompt; 0 if nobody writes.
        """
        self._turn += 1
        room = self._loaded.most
        while (live := self._next(lives)) is not None:
            if live.slot < 0:
                self._begin(live, lives)
            if (image := live.image) is not None and image.rows is None:
                if failed := self._encode(live, image):
                    yield live, failed
                return
            count, apart = live.stretch(self._most(live, room_ns))
            # Only an image that may not be cut is longer than all the room: it gets a step of its own.
            if count > room and room < self._loaded.most:
                return
            result = self._read(live, count, apart)
            if result == NO_ROOM:
                yield live, Failed(live.id, 500, "the cache has no room for this sequence")
            elif result != DONE:
                return
            elif not live.unread:
                yield live, count - 1
            room -= count
            if room_ns or room <= 0:
                return

    def gathers(self, writing: ListOf[Live], lives: dict[int, Live]) -> bool:
        """Whether those that are `writing` had better wait a moment: they have only begun, and others are about to."""
        readers = self._readers(lives)
        new = not any(live.output for live in writing) and not any(live.unread > _LONG for live in readers)
        self._gathered = self._gathered + 1 if new and readers else 0
        return 0 < self._gathered <= _GATHER

    def _readers(self, lives: dict[int, Live]) -> list[Live]:
        return [live for live in lives.values() if live.token < 0 and not self._decoder.doomed(live.id)]

    def _next(self, lives: dict[int, Live]) -> Live | None:
        readers = self._readers(lives)
        if len(readers) > 1:
            # Never all of them: whoever is read already waits for nobody.
            begun = [live for live in readers if live.slot >= 0]
            if begun:
                readers = [
                    live for live in readers if live.slot >= 0 or not self._reuse.comes(live, begun, lives.values())
                ]
        if not readers:
            return None
        return min(readers, key=_unread) if self._turn % 2 else readers[0]

    def _begin(self, live: Live, lives: dict[int, Live]) -> None:
        live.cached = live.held = self._reuse.begin(live, lives.values())
        self.cached += live.cached
        live.long = live.unread > _LONG

    def _most(self, live: Live, room_ns: int) -> int:
        """How many tokens to read at once."""
        if not room_ns or not live.long:
            return self._loaded.most if live.unread <= self._loaded.most else self._loaded.stretch
        if not live.row_time:
            expected = self._decoder.control.expect(Work.PREFILL, _FIRST)
            live.row_time = (expected or room_ns) / _FIRST
        return max(1, min(int(room_ns / live.row_time), self._loaded.stretch))

    def _read(self, live: Live, count: int, apart: bool) -> int:
        live.started = live.started or time.perf_counter_ns()
        image = live.image
        last = count == live.unread
        if image is None or image.rows is None:
            batch = self._batch.prompt(live.prompt[live.held : live.held + count], live.position, live.slot, last=last)
        else:
            begin = live.held - image.start
            values, positions = image.rows.values[begin : begin + count], image.rows.positions[:, begin : begin + count]
            batch = self._batch.embeddings(values, positions, live.slot, last=last)
        whole = image is not None and image.chunk.whole
        result = self._decoder.read(batch, count, live.id, apart=apart or count == 1, whole=whole)
        if result == DONE:
            live.row_time = self._decoder.spent / count
            live.advance(count)
            self.computed += count
        elif result == ABORTED:
            live.again(self._reuse.memory)
        return result

    def _encode(self, live: Live, image: Image) -> Failed | None:
        projector = self._loaded.projector
        assert projector is not None, "who made the image?"
        live.started = live.started or time.perf_counter_ns()
        self._decoder.places.take(self._loaded.threads[0])
        try:
            image.rows = projector.encode(image.chunk, live.position)
        except EngineError as error:
            return Failed(live.id, error.status, error.message)
        return None


def read(live: Live) -> PromptRead:
    """The event that tells that the prompt of `live` is read now."""
    return PromptRead(live.id, len(live.prompt), live.cached, time.perf_counter_ns() - live.started)


def _unread(live: Live) -> int:
    return live.unread
