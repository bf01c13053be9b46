"""The runner process: one engine, one loop, one socket to the server.

    python -P -m remuda.runner.host FD PARENT

The main thread runs the engine and sends. Between two steps it does what `Intake` has made ready: it queues requests
(first come, first served), cancels, answers; and it computes one micro-batch of what is to be embedded.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections import deque
from typing import cast

from ..backend import ModelStats
from ..engine import Ended, Engine, Event, LoadSpec, Piece, PromptRead
from ..errors import LoadFailed, RemudaError
from .confine import die_with_parent
from .embedding import EmbedQueue, EmbedSession
from .frames import (
    Answer,
    Ask,
    Batch,
    Loaded,
    LoadRefused,
    News,
    SeqDone,
    SeqFailed,
    SeqText,
    failure,
    pack,
)
from .intake import Arrival, Intake, answer_tokens
from .session import Session

__all__ = ["Host", "main"]


class Host:
    """The loop. `run` returns when the engine refused to load or the socket is closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._intake = Intake(sock)
        self._waiting: deque[Session] = deque()
        self._live: dict[int, Session] = {}
        self._embeds = EmbedQueue()
        self._steps = 0

    def run(self) -> None:
        try:
            if engine := self._load():
                while self._serve(engine):
                    pass
                engine.close()
        finally:
            self._intake.ended.set()

    def _load(self) -> Engine | None:
        """The engine; None when it refused, which the server has been told then."""
        load = self._intake.load()
        try:
            engine = _load(load.engine, load.spec)
        except ImportError as error:
            hint = f"; install it with: {load.hint}" if load.hint else ""
            self._send(LoadRefused(f"the engine of this model is not installed here ({error}){hint}"))
            return None
        except RemudaError as error:
            self._send(LoadRefused(str(error)))
            return None
        self._intake.open(engine)
        self._send(Loaded(engine.context, self._stats(engine), engine.embed_most > 0))
        return engine

    def _serve(self, engine: Engine) -> bool:
        """Do all that has arrived, then one step. False when nothing will come any more."""
        inbox, news = self._intake.inbox, list[News]()
        idle = not (self._live or self._waiting or self._embeds)
        while idle or not inbox.empty():
            arrival = inbox.get()
            if arrival is None:
                return False
            self._handle(engine, arrival, news)
            idle = False
        while self._waiting and len(self._live) < engine.parallel:
            self._admit(engine, self._waiting.popleft(), news)
        if self._live:
            events = list(engine.step())
            tails = {event.id: event.tail for event in events if isinstance(event, Ended)}
            for event in events:
                self._digest(engine, event, tails, news)
            self._steps += 1
        if self._embeds:
            news.extend(self._embeds.step(engine))
            self._steps += 1
        if news:
            self._send(Batch(news))
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
        )

    def _send(self, message: Loaded | LoadRefused | Batch | Answer) -> None:
        self._sock.sendall(pack(message))


def _tail(engine: Engine, session: Session, tails: dict[int, bytes]) -> bytes:
    """What the text of a sequence that is ended here lacks to match its constraint.

    The engine may have ended it too, with the same token: it no longer knows it then, and has told what is missing.
    """
    sequence = session.sequence
    if sequence.constraint is None or session.gate.stopped:
        return b""
    return tails[sequence.id] if sequence.id in tails else engine.complete(sequence.id)


def _load(path: str, spec: LoadSpec) -> Engine:
    module, _, attribute = path.partition(":")
    try:
        engine = cast(type[Engine], getattr(importlib.import_module(module), attribute))
    except AttributeError as error:
        raise LoadFailed(f"the engine {path!r} does not exist: {error}") from None
    return engine.load(spec)


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            Host(sock).run()
        except (BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    main()
