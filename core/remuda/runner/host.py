"""The runner process: one engine, one loop, one socket to the server.

    python -P -m remuda.runner.host FD PARENT

A reader thread takes frames off the socket and never touches the engine, except for `interrupt`; the main thread
runs the engine and sends. Between two steps the main thread does what has arrived: it queues requests (first come,
first served), cancels, answers. The process ends at once when its socket closes, whatever the engine is doing then.
"""

from __future__ import annotations

import importlib
import os
import queue
import socket
import sys
import threading
from collections import deque
from typing import cast

from ..backend import ModelStats
from ..engine import Ended, Engine, Event, Piece, PromptRead
from ..errors import LoadFailed, RemudaError
from .confine import die_with_parent
from .frames import (
    Answer,
    Ask,
    Batch,
    Cancel,
    Down,
    Load,
    Loaded,
    LoadRefused,
    News,
    SeqDone,
    SeqFailed,
    SeqText,
    Submit,
    pack,
    receive,
    unpack_down,
)
from .session import Session

__all__ = ["Host", "main"]


class Host:
    """The loop. `run` returns when the socket is closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._inbox: queue.SimpleQueue[Down] = queue.SimpleQueue()
        self._waiting: deque[Session] = deque()
        self._live: dict[int, Session] = {}
        self._steps = 0
        self._engine: Engine | None = None

    def run(self) -> None:
        threading.Thread(target=self._read, name="frames", daemon=True).start()
        load = self._inbox.get()
        if not isinstance(load, Load):
            raise SystemExit(f"the first frame must be a load, not {type(load).__name__}")
        try:
            engine = cast(type[Engine], _import(load.engine)).load(load.spec)
        except ImportError as error:
            hint = f"; install it with: {load.hint}" if load.hint else ""
            self._send(LoadRefused(f"the engine of this model is not installed here ({error}){hint}"))
            return
        except RemudaError as error:
            self._send(LoadRefused(str(error)))
            return
        self._engine = engine
        self._send(
            Loaded(context=engine.context, parallel=engine.parallel, vocabulary=engine.vocabulary, stats=self._stats())
        )
        while True:
            self._serve(engine)

    def _serve(self, engine: Engine) -> None:
        """Do all that has arrived, then one step."""
        idle = not self._live and not self._waiting
        while idle or not self._inbox.empty():
            self._handle(engine, self._inbox.get())
            idle = False
        news: list[News] = []
        while self._waiting and len(self._live) < engine.parallel:
            self._admit(engine, self._waiting.popleft(), news)
        if self._live:
            for event in engine.step():
                self._digest(engine, event, news)
            self._steps += 1
        if news:
            self._send(Batch(news))

    def _handle(self, engine: Engine, message: Down) -> None:
        if isinstance(message, Submit):
            try:
                self._waiting.append(Session(message, engine))
            except Exception as error:
                self._send(Batch([_failure(message.id, error)]))
        elif isinstance(message, Cancel):
            if self._live.pop(message.id, None) is not None:
                engine.cancel(message.id)
            else:
                self._waiting = deque(one for one in self._waiting if one.sequence.id != message.id)
        elif isinstance(message, Ask):
            self._send(self._answer(engine, message))

    def _admit(self, engine: Engine, session: Session, news: list[News]) -> None:
        try:
            engine.submit(session.sequence)
        except Exception as error:
            news.append(_failure(session.sequence.id, error))
        else:
            self._live[session.sequence.id] = session

    def _digest(self, engine: Engine, event: Event, news: list[News]) -> None:
        session = self._live.get(event.id)
        if session is None:
            return
        if isinstance(event, Piece):
            text, reason = session.piece(event.token, event.data)
            if text:
                news.append(SeqText(event.id, text))
            if reason:
                engine.cancel(event.id)
                self._end(session.done(reason), news)
        elif isinstance(event, PromptRead):
            session.read(event)
            if session.most == 0:
                engine.cancel(event.id)
                self._end(session.done("length"), news)
        elif isinstance(event, Ended):
            if text := session.gate.finish():
                news.append(SeqText(event.id, text))
            self._end(session.done(event.reason), news)
        else:
            self._end(SeqFailed(event.id, event.status, event.message), news)

    def _end(self, news: SeqDone | SeqFailed, all_news: list[News]) -> None:
        del self._live[news.id]
        all_news.append(news)

    def _answer(self, engine: Engine, ask: Ask) -> Answer:
        try:
            if ask.tokenize is not None:
                return Answer(ask.id, tokens=engine.tokenize(ask.tokenize))
            if ask.detokenize is not None:
                return Answer(ask.id, data=engine.detokenize(ask.detokenize))
        except Exception as error:
            return Answer(ask.id, error=str(error) or repr(error))
        return Answer(ask.id, stats=self._stats())

    def _stats(self) -> ModelStats:
        sizes = self._engine.sizes() if self._engine is not None else {}
        return ModelStats(
            running=len(self._live),
            waiting=len(self._waiting),
            size=sizes.get("size", 0),
            size_vram=sizes.get("size_vram", 0),
            steps=self._steps,
        )

    def _send(self, message: Loaded | LoadRefused | Batch | Answer) -> None:
        self._sock.sendall(pack(message))

    def _read(self) -> None:
        try:
            for body in receive(self._sock):
                message = unpack_down(body)
                self._inbox.put(message)
                if isinstance(message, Cancel) and self._engine is not None:
                    self._engine.interrupt(message.id)
        finally:
            # Closed by the server, or the server is gone: the engine may be deep in native code, so no clean end.
            os._exit(0)


def _failure(id: int, error: Exception) -> SeqFailed:
    if isinstance(error, RemudaError):
        return SeqFailed(id, error.status, str(error))
    return SeqFailed(id, 500, f"the engine refused the request: {error or repr(error)}")


def _import(path: str) -> object:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise LoadFailed(f"the engine {path!r} does not exist: {error}") from None


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            Host(sock).run()
        except (BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    main()
