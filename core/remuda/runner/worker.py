"""Somebody else's program, run where it can be killed: one question at a time to a child process, under a deadline.

A prompt template or a grammar comes with a model or a request. A sandbox or a fuel limit keeps it from the
interpreter, but neither surely from looping for ever nor from asking for a gigabyte. So it runs in a child with
little memory that is started with the first question, and again after it was killed.

The server's side is `Worker`; the child's is a module whose `main` calls `serve` with the types of question and answer.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from ..errors import EngineError
from .confine import confine, limit_memory
from .frames import FrameError, pack, receive
from .process import Child

__all__ = ["Worker", "WorkerEnded", "WorkerLate", "serve"]

_START_TIMEOUT: Final = 20.0
"""Seconds for the child to come up: a busy machine must not be taken for a bad question."""

Question = TypeVar("Question", bound=Struct)
Answer = TypeVar("Answer", bound=Struct)


class WorkerLate(Exception):
    """The answer did not come in time; the child was killed."""


class WorkerEnded(Exception):
    """The child ended over the question: it asked for more memory than it may have, or crashed."""


class Worker(Generic[Answer]):
    """`module` is run as `python -P -m module FD PARENT`. `first` is a question that any child answers at once."""

    def __init__(self, module: str, first: Struct, answer: type[Answer]) -> None:
        self._module, self._first = module, pack(first)
        self._decoder = msgspec.msgpack.Decoder(answer)
        self._link: _Link[Answer] | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    async def ask(self, question: Struct, *, timeout: float) -> Answer:
        """The answer. `timeout` counts from when the child takes the question, in seconds.

        Raises `WorkerLate` and `WorkerEnded` for what the question did, and `EngineError` when no child can be had or
        the worker is closed. What msgspec cannot write raises at once what msgspec raises.
        """
        frame = pack(question)
        async with self._turn:
            link = await self._ready()
            try:
                async with asyncio.timeout(timeout):
                    return await link.put(frame)
            except BaseException as error:
                await self._drop()
                if isinstance(error, TimeoutError):
                    raise WorkerLate from None
                if isinstance(error, EngineError):
                    raise (self._no_more() if self._closed else WorkerEnded()) from None
                raise

    async def close(self) -> None:
        """End the child, and with it the question that it is at; no further question is taken."""
        self._closed = True
        await self._drop()

    async def _ready(self) -> _Link[Answer]:
        if self._closed:
            raise self._no_more()
        if self._link is None or not self._link.child.connected:
            await self._drop()
            link = self._link = _Link(self._decoder)
            try:
                await link.child.start(self._module)
                async with asyncio.timeout(_START_TIMEOUT):
                    await link.put(self._first)
            except (EngineError, OSError):  # `TimeoutError` is one
                words = link.child.last_words
                await self._drop()
                raise EngineError(f"a helping process ({self._module}) did not start: {words}") from None
            except BaseException:
                await self._drop()
                raise
        return self._link

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.child.kill()
            await asyncio.shield(link.child.close())

    def _no_more(self) -> EngineError:
        return EngineError(f"a helping process ({self._module}) was closed")


class _Link(Generic[Answer]):
    """One child and the answer that is expected of it; what an earlier child still says is not mistaken for it."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Answer]) -> None:
        self.child = Child(self._frame, self._gone)
        self._decoder = decoder
        self._answer: asyncio.Future[Answer] | None = None

    async def put(self, frame: bytes) -> Answer:
        """Send a question, wait for its answer. Raises `EngineError` if the child ends first."""
        self._answer = asyncio.get_running_loop().create_future()
        self.child.send(frame)
        return await self._answer

    def _frame(self, body: bytes) -> None:
        try:
            answer = self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise FrameError(str(error)) from None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _gone(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EngineError("the process ended"))


def serve(question: type[Question], answer: Callable[[Question], Struct], *, memory: int) -> None:
    """The child's life: answer questions until the server closes the socket. `memory` in bytes."""
    confine(int(sys.argv[2]))
    limit_memory(memory)
    decoder = msgspec.msgpack.Decoder(question)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        for body in receive(sock):
            sock.sendall(pack(answer(decoder.decode(body))))
