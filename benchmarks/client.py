"""A client that costs little: it shares the cores with what it measures. Raw HTTP/1.1, a connection for each stream.

It speaks Ollama's dialect and llama-server's own. While a stream comes it only notes when something arrived, and looks
into what it was when all is over. One write of a server may bring several tokens: that is one arrival.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from .measure import Run

__all__ = [
    "Reply",
    "Stream",
    "Target",
    "TooShort",
    "UnlikeAsked",
    "ask",
    "open_stream",
    "read_reply",
    "request",
    "run_streams",
]

Dialect: TypeAlias = Literal["ollama", "llama.cpp"]

_PATHS: dict[Dialect, str] = {"ollama": "/api/generate", "llama.cpp": "/completion"}
_PIECE: dict[Dialect, bytes] = {"ollama": b'"done":false', "llama.cpp": b'"stop":false'}
"""What is in every part of a stream but the last."""
_PATIENCE = 300
"""Seconds that an answer may take."""


class UnlikeAsked(RuntimeError):
    """An answer that is an error, or no answer."""


class TooShort(RuntimeError):
    """A text that ended before it was as long as it was to be."""


class Target(Struct, frozen=True):
    """A server, and what every request to it has in common."""

    port: int
    dialect: Dialect = "ollama"
    model: str = ""
    context: int = 1024
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of llama.cpp's requests, or further `options` of Ollama's."""


class Reply(Struct, frozen=True):
    """What came of one request. Moments are those of `time.perf_counter`."""

    arrivals: list[float]
    """When text came; never empty."""
    tokens: int
    """Generated."""
    prompt_tokens: int
    cached_tokens: int
    """Tokens of the prompt that were not computed again."""
    engine: float
    """Seconds in which, as the server says, the prompt was read and the text written."""


def request(
    target: Target, prompt: str, tokens: int, *, form: Any = None, stream: bool = True, close: bool = True
) -> bytes:
    """A whole HTTP request for greedy text: the prompt as it is, `tokens` to generate, of any text or of the `form`."""
    if target.dialect == "ollama":
        options = {"temperature": 0, "num_predict": tokens, "num_ctx": target.context, **target.extra}
        body = {"model": target.model, "prompt": prompt, "raw": True, "format": form, "options": options}
    else:
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, **target.extra}
    data = json.dumps({**body, "stream": stream}).encode()
    connection = "close" if close else "keep-alive"
    head = f"POST {_PATHS[target.dialect]} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


class Stream(asyncio.Protocol):
    """One answer as it comes. `arrivals` may be read meanwhile, `reply` when `ended` is done."""

    def __init__(self, target: Target) -> None:
        self.arrivals: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._target, self._piece, self._data = target, _PIECE[target.dialect], bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._piece in data:
            self.arrivals.append(time.perf_counter())
        self._data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.arrivals = self.arrivals or [time.perf_counter()]
        if not self.ended.done():
            self.ended.set_result(None)

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def abort(self) -> None:
        assert self.transport is not None
        self.transport.abort()

    def reply(self) -> Reply:
        """Raises `UnlikeAsked` if it is an error."""
        return read_reply(self._target, bytes(self._data), self.arrivals)


def read_reply(target: Target, data: bytes, arrivals: list[float]) -> Reply:
    """The end of an answer, streamed or not. Raises `UnlikeAsked` if it is an error, or none."""
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n")]
    try:
        end: dict[str, Any] = json.loads([line for line in lines if line.startswith(b"{")][-1])
    except (ValueError, IndexError):
        end = {}
    if not (end.get("done") or end.get("stop")):
        raise UnlikeAsked(f"an answer ended unlike asked: {data[-300:]!r}")
    if target.dialect == "ollama":
        spent = (end.get("prompt_eval_duration", 0) + end.get("eval_duration", 0)) / 1e9
        counts = (end.get("eval_count", 0), end.get("prompt_eval_count", 0), end.get("cached_tokens", 0))
    else:
        timings = end["timings"]
        spent = (timings["prompt_ms"] + timings["predicted_ms"]) / 1e3
        counts = (end["tokens_predicted"], end["tokens_evaluated"], timings.get("cache_n", 0))
    return Reply(arrivals, *counts, spent)


async def open_stream(target: Target) -> Stream:
    """A connection on which nothing is asked yet."""
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: Stream(target), "127.0.0.1", target.port)
    return stream


async def ask(target: Target, prompt: str, tokens: int) -> tuple[float, Reply]:
    """The moment of the request, and the answer, however long it is. Raises `UnlikeAsked` for an error and
    `TimeoutError` for an answer that does not come."""
    stream = await open_stream(target)
    began = time.perf_counter()
    stream.send(request(target, prompt, tokens))
    try:
        async with asyncio.timeout(_PATIENCE):
            await stream.ended
    finally:
        stream.abort()
    return began, stream.reply()


async def run_streams(target: Target, prompts: list[str], tokens: int, form: Any = None, *, exact: bool = True) -> Run:
    """All prompts at once, greedily, `tokens` each, of any text or of the `form`.

    Raises `UnlikeAsked` for an error, `TooShort` for a shorter text if it is to be `exact`, and `TimeoutError`.
    """
    streams = [await open_stream(target) for _ in prompts]
    began = time.perf_counter()
    for stream, prompt in zip(streams, prompts, strict=True):
        stream.send(request(target, prompt, tokens, form=form))
    try:
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(*(stream.ended for stream in streams))
    finally:
        for stream in streams:
            stream.abort()
    seconds = time.perf_counter() - began
    replies = [stream.reply() for stream in streams]
    if exact and any(reply.tokens != tokens for reply in replies):
        raise TooShort(f"texts of {[reply.tokens for reply in replies]} tokens instead of {tokens}")
    arrivals = [[time - began for time in reply.arrivals] for reply in replies]
    return Run(len(prompts), sum(reply.tokens for reply in replies), seconds, arrivals)
