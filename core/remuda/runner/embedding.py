"""Requests for embeddings inside a runner: which inputs go into the next micro-batch, and whose the vectors are."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import takewhile

from ..backend import EmbedJob
from ..engine import Engine
from ..errors import BadRequest
from .frames import News, SeqFailed, SeqVectors, failure

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

    @property
    def left(self) -> int:
        """Inputs still to be computed."""
        return len(self.inputs) - self.done


class EmbedQueue:
    """Packs the inputs of all requests into micro-batches.

    The oldest request and the one with the least left to do come first in turn: a request with thousands of inputs
    does not keep one with a single input waiting, and is not kept waiting by them.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, EmbedSession] = {}
        """In order of arrival."""
        self._turn = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def running(self) -> int:
        """Requests that have had a place in a micro-batch."""
        return sum(session.done > 0 for session in self._sessions.values())

    def add(self, session: EmbedSession) -> None:
        self._sessions[session.id] = session

    def cancel(self, id: int) -> bool:
        """Drop what is not yet computed. Whether the request was here."""
        return self._sessions.pop(id, None) is not None

    def step(self, engine: Engine) -> list[News]:
        """Compute one micro-batch. Every request in it gets vectors, or fails."""
        taken = self._pack(engine)
        inputs = [tokens for session, count in taken for tokens in _next(session, count)]
        try:
            vectors = engine.embed(inputs)
        except Exception as error:
            return [self._failed(session, error) for session, _ in taken]
        news: list[News] = []
        for session, count in taken:
            tokens = sum(map(len, _next(session, count)))
            news.append(SeqVectors(session.id, vectors[:count], tokens))
            vectors = vectors[count:]
            session.done += count
            if not session.left:
                del self._sessions[session.id]
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
            places -= count
            if not places or room <= 0:
                break
        return taken

    def _failed(self, session: EmbedSession, error: Exception) -> SeqFailed:
        del self._sessions[session.id]
        return failure(session.id, error)


def _tokens(text: str, limit: int, job: EmbedJob, engine: Engine) -> array[int]:
    tokens, uncut = engine.tokenize_input(text, limit)
    if uncut > limit and not job.truncate:
        raise BadRequest("the input length exceeds the context length")
    return array("i", tokens)  # four bytes each: a request may hold millions


def _next(session: EmbedSession, count: int) -> list[array[int]]:
    return session.inputs[session.done : session.done + count]


def _left(session: EmbedSession) -> int:
    return session.left
