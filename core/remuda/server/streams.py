"""Answers and progress as NDJSON: an object and a newline per event, each flushed by itself (Ollama API, "HTTP")."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

from quart import Response

from ..errors import EngineError
from ..wire import ChatResponse, GenerateResponse, ProgressResponse, encode_line
from .drain import Drain
from .exchange import Exchange
from .replies import NDJSON, STREAMING, error_line

__all__ = ["LineStream", "lines", "ndjson_response"]

_log = logging.getLogger("remuda.server")


Line = GenerateResponse | ChatResponse | ProgressResponse


class LineStream(Protocol):
    """Responses, one by one."""

    def __aiter__(self) -> AsyncIterator[Line]: ...

    async def aclose(self) -> None: ...


def ndjson_response(stream: LineStream, exchange: Exchange, drain: Drain) -> Response:
    """The reply that sends progress, whose stream is closed with the request whatever becomes of it."""
    exchange.closing.push_async_callback(stream.aclose)

    async def pieces() -> AsyncGenerator[bytes, None]:
        async with aclosing(lines(stream, exchange, drain, marked=False)) as found:
            async for line, _ in found:
                if line:
                    yield line

    response = Response(pieces(), content_type=NDJSON, headers=STREAMING)
    response.timeout = None
    return response


async def lines(
    stream: LineStream, exchange: Exchange, drain: Drain, *, marked: bool = True
) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Each line, and whether others follow. Ends with an error line or, as it should, with the last response.

    `marked` says that the last response must have `done` set: else the stream was broken off. Of progress there is no
    such mark. The last response is sent when the stream has ended, together with the mark of the reply's end.
    """
    last = b""
    try:
        items = aiter(stream)
        while True:
            try:
                item = await drain.next_of(items)
            except StopAsyncIteration:
                break
            if last:
                _log.error("the pipeline went on after done:true")
            elif not isinstance(item, ProgressResponse) and item.done:
                last = encode_line(item)
            else:
                yield encode_line(item), True
        if marked and not last:
            raise EngineError("the model's stream broke off before its end; try again")
    except Exception as error:
        line = error_line(error, exchange.request_id)
        last = last or line
    yield last, False
