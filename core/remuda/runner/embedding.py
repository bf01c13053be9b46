"""Requests for embeddings inside a runner: which inputs go to the engine together, and whose the vectors are.

The engine is given as many inputs as it takes in one call, and does the call in pieces, between which texts go on. The
next call begins when it is done. A request that leaves has its part in the call computed for nothing, unless nobody is
left who wants any of it: the call ends there then.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator
from itertools import takewhile

from ..backend import EmbedJob
from ..engine import Engine
from ..errors import BadRequest
from .frames import News, SeqVectors, failure

__all__ = ["EmbedQueue", "EmbedSession"]


class EmbedSession:
    """One request. Made from a job; raises `BadRequest` when it cannot be served."""

    def __init__(self, id: int, job: EmbedJob, engine: Engine, wanted: Callable[[], bool] = lambda: True) -> None:
        """When `wanted` turns false, it is left unfinished."""
        if not engine.embed_most:
            raise BadRequest("this model does not support embeddings")
        self.id = id
        limit = min(job.limit, engine.context)
        # Millions of characters take seconds: whoever has left is not served to the end.
        self.inputs = [_tokens(text, limit, job, engine) for text in takewhile(lambda _: wanted(), job.inputs)]
        self.done = 0
        """How many of the inputs are computed."""
        self.begun = False
        """Whether the engine has been given some of them."""

    @property
    def left(self) -> int:
        """Inputs still to be computed."""
        return len(self.inputs) - self.done


class EmbedQueue:
    """Packs the inputs of all requests into calls of the engine.

    The oldest request and the one with the least left to do come first in turn: a request with thousands of inputs
    does not keep one with a single input waiting, and is not kept waiting by them.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, EmbedSession] = {}
        """In order of arrival."""
        self._turn = 0
        self._call: Generator[None, None, list[bytes]] | None = None
        """What the engine is at."""
        self._taken: list[tuple[EmbedSession, int]] = []
        """Whose inputs it was given, and how many of each, in this order. Some may have left since."""

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def running(self) -> int:
        """Requests that have had a part in a call."""
        return sum(session.begun for session in self._sessions.values())

    def add(self, session: EmbedSession) -> None:
        self._sessions[session.id] = session

    def cancel(self, id: int) -> bool:
        """Drop what is not yet computed. Whether the request was here."""
        found = self._sessions.pop(id, None) is not None
        if found and not any(session.id in self._sessions for session, _ in self._taken):
            self.close()
        return found

    def close(self) -> None:
        """End the call that the engine is at."""
        if self._call is not None:
            self._call.close()
        self._call, self._taken = None, []

    def step(self, engine: Engine) -> list[News]:
        """Do a piece of the call that the engine is at, or of the next one. There must be a request.

        At the end of a call every request in it gets vectors, or fails.
        """
        if self._call is None:
            self._taken = self._pack(engine)
        try:
            self._call = self._call or engine.embedding(self._inputs())
            next(self._call)
        except StopIteration as end:
            return self._end(end.value)
        except Exception as error:
            gone = [self._sessions.pop(session.id, None) for session, _ in self._taken]
            self.close()
            return [failure(session.id, error) for session in gone if session is not None]
        return []

    def _inputs(self) -> list[array[int]]:
        return [tokens for session, count in self._taken for tokens in _next(session, count)]

    def _end(self, vectors: list[bytes]) -> list[News]:
        news: list[News] = []
        for session, count in self._taken:
            own, vectors = vectors[:count], vectors[count:]
            if session.id not in self._sessions:
                continue
            news.append(SeqVectors(session.id, own, sum(map(len, _next(session, count)))))
            session.done += count
            if not session.left:
                del self._sessions[session.id]
        self.close()
        return news

    def _pack(self, engine: Engine) -> list[tuple[EmbedSession, int]]:
        """Requests, and how many of the next inputs of each are taken."""
        self._turn += 1
        waiting = list(self._sessions.values())
        if self._turn % 2 == 0:
            waiting.sort(key=_left)
        places, room, taken = engine.embed_most, engine.embed_room, list[tuple[EmbedSession, int]]()
        for session in waiting:
            count = 0
            for tokens in _next(session, places):
                if len(tokens) > room and (taken or count):
                    break
                count += 1
                room -= len(tokens)
            if count:
                taken.append((session, count))
                session.begun = True
            places -= count
            if not places or room <= 0:
                break
        return taken


def _tokens(text: str, limit: int, job: EmbedJob, engine: Engine) -> array[int]:
    tokens, uncut = engine.tokenize_input(text, limit)
    if uncut > limit and not job.truncate:
        raise BadRequest("the input length exceeds the context length")
    return array("i", tokens)  # four bytes each: a request may hold millions


def _next(session: EmbedSession, count: int) -> list[array[int]]:
    return session.inputs[session.done : session.done + count]


def _left(session: EmbedSession) -> int:
    return session.left
