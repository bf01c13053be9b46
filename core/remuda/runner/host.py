"""The runner process: one engine, one loop, one socket to the server.

    python -P -m remuda.runner.host FD PARENT

The main thread runs the engine and sends. Between two steps it does what `Intake` has made ready: it queues requests
(first come, first served), cancels, answers; and it does a piece, one micro-batch, of what is to be embedded. Where
that leaves nothing to send for a while, it says that it is alive.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import time
from collections import deque
from typing import cast

from ..backend import ModelStats
from ..engine import Ended, Engine, Event, Piece, PromptRead
from ..errors import LoadFailed, OutOfMemory, RemudaError, without_paths
from .confine import be_nice, confine, limit_memory
from .embedding import EmbedQueue, EmbedSession
from .frames import (
    Answer,
    Ask,
    Batch,
    Beat,
    Load,
    Loaded,
    LoadProgress,
    LoadRefused,
    News,
    SeqDone,
    SeqFailed,
    SeqText,
    Up,
    failure,
    pack,
)
from .intake import Arrival, Intake, answer_tokens
from .session import Session

__all__ = ["Host", "main"]

_PROGRESS_EVERY = 0.1
"""Seconds at least between two words about a load."""
_NOT_MAPPED = "failed to map segment"
"""What the C library says of a module of native code when there is no memory for it."""


class Host:
    """The loop. `run` returns when the engine refused to load or the socket is closed."""

    def __init__(self, sock: socket.socket, unconfined: str = "") -> None:
        self._sock, self._unconfined = sock, unconfined
        self._intake = Intake(sock)
        self._waiting: deque[Session] = deque()
        self._live: dict[int, Session] = {}
        self._embeds = EmbedQueue()
        self._steps = 0
        self._beat, self._sent = 1.0, 0.0
        self._loading = threading.Lock()
        """Held by whoever sends while the model is loaded, and for ever after by nobody else than this thread."""

    def run(self) -> None:
        try:
            if engine := self._load():
                while self._serve(engine):
                    pass
                self._embeds.close()
                engine.close()
        finally:
            self._intake.ended.set()

    def _load(self) -> Engine | None:
        """The engine; None when it refused, which the server has been told then."""
        load = self._intake.load()
        self._beat = load.beat
        if load.memory:
            limit_memory(load.memory)
        try:
            be_nice(load.nice)
            engine = self._make(load)
        except ImportError as error:
            if _NOT_MAPPED in str(error):
                return self._refuse_for_memory(load)
            hint = f"; install it with: {load.hint}" if load.hint else ""
            words = f"the engine of this model is not installed here ({without_paths(str(error))}){hint}"
            self._send(LoadRefused(words, "missing"))
            return None
        except MemoryError:
            return self._refuse_for_memory(load)
        except RemudaError as error:
            self._send(LoadRefused(str(error), "memory" if isinstance(error, OutOfMemory) else "failed"))
            return None
        self._intake.open(engine)
        embeds = engine.embed_most > 0
        self._send(Loaded(engine.context, engine.parallel, self._stats(engine), embeds, self._unconfined))
        return engine

    def _refuse_for_memory(self, load: Load) -> None:
        self._send(LoadRefused(f"{load.spec.name} could not be loaded: there is not enough memory", "memory"))

    def _make(self, load: Load) -> Engine:
        module, _, attribute = load.engine.partition(":")
        if load.folder:
            sys.path.append(load.folder)
        try:
            engine = cast(type[Engine], getattr(importlib.import_module(module), attribute))
        except AttributeError as error:
            raise LoadFailed(f"the engine {load.engine!r} does not exist: {error}") from None
        engine.progress = self._progress
        try:
            return engine.load(load.spec)
        finally:
            self._loading.acquire()

    def _progress(self, fraction: float) -> None:
        """In place of `Engine.progress`. Whoever calls it from another thread must not get between two frames."""
        if self._loading.acquire(blocking=False):
            try:
                if time.monotonic() - self._sent >= _PROGRESS_EVERY:
                    self._send(LoadProgress(max(0.0, min(1.0, fraction))))
            finally:
                self._loading.release()

    def _serve(self, engine: Engine) -> bool:
        """Do all that has arrived, then one piece and one step. False when nothing will come any more."""
        inbox, news = self._intake.inbox, list[News]()
        idle = not (self._live or self._waiting or self._embeds)
        while idle or not inbox.empty():
            arrival = inbox.get()
            if arrival is None:
                return False
            self._handle(engine, arrival, news)
            idle = False
        # Before anybody is admitted: it may be waiting for the place that has just become free.
        if self._embeds:
            news.extend(self._embeds.step(engine))
            self._steps += 1
        while self._waiting and len(self._live) < engine.parallel:
            self._admit(engine, self._waiting.popleft(), news)
        if self._live:
            events = list(engine.step())
            tails = {event.id: event.tail for event in events if isinstance(event, Ended)}
            for event in events:
                self._digest(engine, event, tails, news)
            self._steps += 1
        if news:
            self._send(Batch(news))
        elif time.monotonic() - self._sent >= self._beat:
            self._send(Beat())
        return True

    def _handle(self, engine: Engine, arrival: Arrival, news: list[News]) -> None:
        if isinstance(arrival, Session):
            self._waiting.append(arrival)
        elif isinstance(arrival, EmbedSession):
            self._embeds.add(arrival)
        elif isinstance(arrival, SeqFailed):
            news.append(arrival)
        elif isinstance(arrival, Answer):
            self._send(arrival)
        elif isinstance(arrival, Ask):
            self._send(self._answer(engine, arrival))
        elif isinstance(arrival, Beat):
            return
        elif self._live.pop(arrival.id, None) is not None:
            engine.cancel(arrival.id)
        elif not self._embeds.cancel(arrival.id):
            self._waiting = deque(one for one in self._waiting if one.sequence.id != arrival.id)

    def _admit(self, engine: Engine, session: Session, news: list[News]) -> None:
        try:
            engine.submit(session.sequence)
        except Exception as error:
            news.append(failure(session.sequence.id, error))
        else:
            self._live[session.sequence.id] = session

    def _digest(self, engine: Engine, event: Event, tails: dict[int, bytes], news: list[News]) -> None:
        """`tails` are those of the sequences that the engine has ended in this step."""
        session = self._live.get(event.id)
        if session is None:
            return
        if isinstance(event, Piece):
            text, reason = session.piece(event)
            if reason:
                text += session.gate.finish(_tail(engine, session, tails))
                engine.cancel(event.id)
            if text or event.logprob is not None:
                news.append(SeqText(event.id, text, [event.logprob] if event.logprob is not None else []))
            if reason:
                self._end(SeqDone(event.id, session.done(reason)), news)
        elif isinstance(event, PromptRead):
            session.read(event)
            if session.most == 0:
                engine.cancel(event.id)
                self._end(SeqDone(event.id, session.done("length")), news)
        elif isinstance(event, Ended):
            if text := session.gate.finish(event.tail):
                news.append(SeqText(event.id, text))
            self._end(SeqDone(event.id, session.done(event.reason)), news)
        else:
            self._end(SeqFailed(event.id, event.status, event.message), news)

    def _end(self, last: SeqDone | SeqFailed, news: list[News]) -> None:
        del self._live[last.id]
        news.append(last)

    def _answer(self, engine: Engine, ask: Ask) -> Answer:
        if ask.detokenize is not None:
            return answer_tokens(ask, engine)
        return Answer(ask.id, stats=self._stats(engine))

    def _stats(self, engine: Engine) -> ModelStats:
        sizes = engine.sizes()
        return ModelStats(
            running=len(self._live) + self._embeds.running,
            waiting=len(self._waiting) + len(self._embeds) - self._embeds.running + self._intake.waiting,
            size=sizes.get("size", 0),
            size_vram=sizes.get("size_vram", 0),
            steps=self._steps,
            engine=engine.counters(),
        )

    def _send(self, message: Up) -> None:
        self._sock.sendall(pack(message))
        self._sent = time.monotonic()


def _tail(engine: Engine, session: Session, tails: dict[int, bytes]) -> bytes:
    """What the text of a sequence that is ended here lacks to match its constraint.

    The engine may have ended it too, with the same token: it no longer knows it then, and has told what is missing.
    """
    sequence = session.sequence
    if sequence.constraint is None or session.gate.stopped:
        return b""
    return tails[sequence.id] if sequence.id in tails else engine.complete(sequence.id)


def main() -> None:
    unconfined = confine(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            Host(sock, unconfined).run()
        except (BrokenPipeError, ConnectionResetError):
            return
        except (MemoryError, OutOfMemory):
            # Nothing that needs any: neither a traceback nor the ends of other threads.
            os.write(2, b"out of memory\n")
            os._exit(1)


if __name__ == "__main__":
    main()
