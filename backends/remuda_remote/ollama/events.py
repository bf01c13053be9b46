"""The lines that answer a request, as events: one for each line that says one thing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import anyio
import msgspec
from msgspec import Struct, field

from remuda.backend import Done
from remuda.errors import BadRequest
from remuda.job import Event, Finished, Job, Loaded, Rendered, ToolCalls, Waiting
from remuda.output import Text, Thinking, TokenLogprob, ToolCall
from remuda.wire import ToolCallMessage

from ..client import Reply, said_in
from ..faults import Broke, Fault, Refused
from ..names import said_here
from .plain import count

__all__ = ["Answer"]

_END: Final = 1.0
"""Seconds for the end of a body after its last line. One that takes longer costs a connection, and nobody's time."""


class _Token(Struct, frozen=True):
    token: str | None = None
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[_Token] | None = None


class _Said(Struct, frozen=True):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCallMessage] | None = None


class _Debug(Struct, frozen=True):
    rendered_template: str = ""
    image_count: Any = 0


class _Line(Struct, frozen=True):
    """Any line of `/api/generate`, of `/api/chat`, and of the waiting before an answer. Numbers of any kind will do."""

    error: Any = None
    status: str | None = None
    response: str | None = None
    thinking: str | None = None
    message: _Said | None = None
    logprobs: list[_Token] | None = None
    done: bool | None = None
    done_reason: str | None = None
    debug_info: _Debug | None = field(default=None, name="_debug_info")
    context: list[int] | None = None
    total_duration: Any = 0
    load_duration: Any = 0
    prompt_eval_count: Any = 0
    prompt_eval_duration: Any = 0
    eval_count: Any = 0
    eval_duration: Any = 0
    dropped_tokens: Any = 0
    cached_tokens: Any = 0
    position: Any = 0
    total: Any = 0
    completed: Any = 0


_DECODER: Final = msgspec.json.Decoder(_Line)


class Answer(AsyncIterator[Event]):
    """The events of `job`. Must be closed, read or not."""

    def __init__(self, reply: Reply, job: Job, there: str) -> None:
        """`there` is what the upstream calls the model."""
        self._reply, self._job, self._there = reply, job, there
        self._blocks = reply.lines()
        self._ready: deque[Event | Fault] = deque()
        self._over = False

    async def begin(self) -> None:
        """Returns when the first event is here. Raises a `Fault` that comes in its place, and `BadRequest`."""
        while not self._ready:
            await self._read()
        if isinstance(self._ready[0], Fault):
            raise self._ready[0]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._over:
                await self._rest()
                raise StopAsyncIteration
            await self._read()
        event = self._ready.popleft()
        if isinstance(event, Fault):
            raise event
        return event

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._blocks.aclose()
            await self._reply.aclose()

    async def _read(self) -> None:
        block = await anext(self._blocks, b"")
        if not block:
            raise Broke(self._reply.upstream, "ended its answer before it was whole")
        for line in block.splitlines():
            if self._over:
                return
            if line.strip():
                self._take(line)

    async def _rest(self) -> None:
        """Read what is left, which is nothing, so that the connection can be used again."""
        with anyio.move_on_after(_END), suppress(Fault):
            await anext(self._blocks, b"")

    def _take(self, data: bytes) -> None:
        try:
            line = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._fail(Broke(self._reply.upstream, "sent a line that is none of the Ollama API"))
            return
        if line.error:
            said = said_here(said_in(data), self._there, self._job.name)
            self._fail(Refused(self._reply.upstream, 500, {}, data, said))
        elif line.status is not None:
            if self._job.progress:
                self._ready.append(_waiting(line))
        elif line.debug_info is not None:
            self._over = True
            self._ready.append(Rendered(line.debug_info.rendered_template, count(line.debug_info.image_count)))
        elif self._job.render_only:
            raise BadRequest(f"upstream '{self._reply.upstream}' cannot do _debug_render_only: it writes an answer")
        elif line.done and self._job.load_only:
            self._over = True
            self._ready.append(Loaded())
        else:
            self._ready += _said(line)
            if line.done:
                self._over = True
                self._ready.append(_finished(line))

    def _fail(self, fault: Fault) -> None:
        """What came before it is still told."""
        self._over = True
        self._ready.append(fault)


def _said(line: _Line) -> list[Event]:
    """What a line says, in the order in which it was written; log probabilities go with the first of it."""
    said = line.message or _Said(line.response, line.thinking)
    tokens = [_token(each) for each in line.logprobs or ()]
    events: list[Event] = []
    if said.thinking:
        events.append(Thinking(said.thinking, tokens))
    if said.content or (not events and (tokens or not (said.tool_calls or line.done))):
        events.append(Text(said.content or "", [] if events else tokens))
    if said.tool_calls:
        events.append(ToolCalls([_call(each) for each in said.tool_calls]))
    return events


def _call(call: ToolCallMessage) -> ToolCall:
    return ToolCall(name=call.function.name or "", arguments=call.function.arguments or {}, id=call.id or "")


def _token(token: _Token) -> TokenLogprob:
    top = [TokenLogprob(_bytes(each), _number(each.logprob)) for each in token.top_logprobs or ()]
    return TokenLogprob(_bytes(token), _number(token.logprob), top)


def _bytes(token: _Token) -> bytes:
    text = (token.token or "").encode()
    return text if token.bytes is None or not _are_bytes(token.bytes) else bytes(token.bytes)


def _are_bytes(numbers: Sequence[int]) -> bool:
    return all(0 <= number < 256 for number in numbers)


def _number(logprob: float | None) -> float:
    """JSON has no infinity."""
    return -math.inf if logprob is None else logprob


def _waiting(line: _Line) -> Waiting:
    """Of a model that is loaded there, how much of it; of any other wait, that there is one."""
    if line.status != "loading model":
        return Waiting(count(line.position))
    size, done = count(line.total), count(line.completed)
    loading = min(done / size, 1.0) if size else 0.0
    if int(size * loading) < min(done, size):  # so that the very number comes out where it is told again
        loading = math.nextafter(loading, 1.0)
    return Waiting(count(line.position), loading, size)


def _finished(line: _Line) -> Finished:
    done = Done(
        reason=line.done_reason or "stop",
        prompt_tokens=count(line.prompt_eval_count),
        cached_tokens=count(line.cached_tokens),
        prompt_ns=count(line.prompt_eval_duration),
        output_tokens=count(line.eval_count),
        output_ns=count(line.eval_duration),
        context=line.context,
        dropped_tokens=count(line.dropped_tokens),
    )
    return Finished(done, count(line.total_duration), count(line.load_duration))
