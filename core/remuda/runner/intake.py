"""What comes into a runner, made ready for the thread that runs the engine.

One thread reads frames. It passes a cancellation on to the engine at once, so that a long step can be cut short, and
it ends the process when the socket closes, whatever the engine is doing then. A second thread tokenizes, which for ten
million characters takes many seconds, and no running stream may wait for it: it makes requests into sessions, and
questions for tokens into answers. A short prompt is a session before a thread is awake: where none waits, the first
thread makes it.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time

from ..engine import Engine
from .embedding import EmbedSession
from .frames import Answer, Ask, Beat, Cancel, Down, Embed, Load, SeqFailed, Submit, failure, receive, unpack_down
from .session import Session

__all__ = ["Arrival", "Intake", "answer_tokens"]

Arrival = Session | EmbedSession | SeqFailed | Answer | Cancel | Ask | Beat
"""What the engine's thread is given."""

_SHORT = 1024
"""Characters of a prompt that are tokenized in a fraction of a millisecond."""
_CLOSE_SECONDS = 0.5
"""How long an engine may take to close before the process ends without it."""


class Intake:
    def __init__(self, sock: socket.socket) -> None:
        self.inbox: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        """None comes last: the socket is closed."""
        self.ended = threading.Event()
        """To be set when the engine is closed."""
        self._sock = sock
        self._loads: queue.SimpleQueue[Load] = queue.SimpleQueue()
        self._texts: queue.SimpleQueue[Submit | Embed | Ask] = queue.SimpleQueue()
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._untaken: set[int] = set()
        """Requests that are neither sessions yet nor cancelled."""
        self._beat, self._beaten = 1.0, 0.0
        threading.Thread(target=self._read, name="frames", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Requests whose prompts are not tokenized yet."""
        return len(self._untaken)

    def load(self) -> Load:
        """The first frame."""
        load = self._loads.get()
        self._beat = load.beat
        return load

    def open(self, engine: Engine) -> None:
        """From now on requests are taken, for `engine`."""
        self._engine = engine
        threading.Thread(target=self._prepare, args=(engine,), name="prompts", daemon=True).start()

    def _read(self) -> None:
        try:
            for body in receive(self._sock):
                self._take(unpack_down(body))
        finally:
            # Closed by the server, or the server is gone. The engine may be deep in native code: ask once, then end.
            self.inbox.put(None)
            self.ended.wait(_CLOSE_SECONDS)
            os._exit(0)

    def _take(self, message: Down) -> None:
        if isinstance(message, (Submit, Embed)):
            with self._lock:
                alone = not self._untaken
                self._untaken.add(message.id)
            if alone and self._engine is not None and _is_short(message):
                self._deliver(message.id, self._session(message, self._engine))
            else:
                self._texts.put(message)
        elif isinstance(message, Cancel):
            with self._lock:
                untaken = message.id in self._untaken
                self._untaken.discard(message.id)
            if not untaken and self._engine is not None:
                self._engine.interrupt(message.id)
                self.inbox.put(message)
        elif isinstance(message, Ask):
            (self.inbox if message.tokenize is None else self._texts).put(message)
        else:
            self._loads.put(message)

    def _prepare(self, engine: Engine) -> None:
        while True:
            text = self._texts.get()
            if isinstance(text, Ask):
                self.inbox.put(answer_tokens(text, engine))
            elif text.id in self._untaken:
                self._deliver(text.id, self._session(text, engine))

    def _session(self, asked: Submit | Embed, engine: Engine) -> Session | EmbedSession | SeqFailed:
        try:
            if isinstance(asked, Embed):
                return EmbedSession(asked.id, asked.job, engine, lambda: self._wanted(asked.id))
            return Session(asked.id, asked.job, engine)
        except Exception as error:
            return failure(asked.id, error)

    def _wanted(self, id: int) -> bool:
        """Whether nobody has cancelled this one. Asked before each of its texts: thousands of them are no silence."""
        now = time.monotonic()
        if now - self._beaten >= self._beat:
            self._beaten = now
            self.inbox.put(Beat())
        return id in self._untaken

    def _deliver(self, id: int, arrival: Session | EmbedSession | SeqFailed) -> None:
        with self._lock:
            if id in self._untaken:
                self._untaken.discard(id)
                self.inbox.put(arrival)


def _is_short(asked: Submit | Embed) -> bool:
    """Whether next to no time passes until a session is made of it."""
    if isinstance(asked, Embed):
        return False
    job = asked.job
    return len(job.prompt) <= _SHORT and not job.images and job.constraint is None


def answer_tokens(ask: Ask, engine: Engine) -> Answer:
    """The tokens or the bytes that were asked for."""
    try:
        if ask.tokenize is not None:
            return Answer(ask.id, tokens=engine.tokenize(ask.tokenize))
        return Answer(ask.id, data=engine.detokenize(ask.detokenize or []))
    except Exception as error:
        return Answer(ask.id, error=str(error) or repr(error))
