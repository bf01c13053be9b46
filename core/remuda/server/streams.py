"""Answers and progress as NDJSON: an object and a newline per event, each flushed by itself (Ollama API, "HTTP")."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from quart import Response

from ..errors import EngineError
from ..wire import ChatResponse, GenerateResponse, ProgressResponse, encode_line
from .drain import Drain
from .exchange import Exchange
from .replies import NDJSON, STREAMING, error_line

__all__ = ["LineStream", "ndjson_response"]

_log = logging.getLogger("remuda.server")


Line = GenerateResponse | ChatResponse | ProgressResponse


class LineStream(Protocol):
    """Responses, one by one."""

    def __aiter__(self) -> AsyncIterator[Line]: ...

    async def aclose(self) -> None: ...


def ndjson_response(stream: LineStream, exchange: Exchange, drain: Drain, *, marked: bool = True) -> Response:
    """The reply that sends `stream`, which is closed with the request whatever becomes of it.

    `marked` says that the last response must have `done` set: the stream was broken off without one. Of progress there
    is no such mark.
    """
    exchange.closing.push_async_callback(stream.aclose)
    response = Response(_lines(stream, exchange, drain, marked), content_type=NDJSON, headers=STREAMING)
    response.timeout = None
    return response


async def _lines(stream: LineStream, exchange: Exchange, drain: Drain, marked: bool) -> AsyncGenerator[bytes, None]:
    """Ends with an error line or, as it should, with the last response, unless the client left."""
    done = False
    try:
        items = aiter(stream)
        while True:
            try:
                item = await drain.next_of(items)
            except StopAsyncIteration:
                break
            if done:
                _log.error("the pipeline went on after done:true")
                continue
            done = not isinstance(item, ProgressResponse) and item.done
            yield encode_line(item)
        if marked and not done:
            raise EngineError("the model's stream broke off before its end; try again")
    except Exception as error:
        line = error_line(error, exchange.request_id)
        if not done:
            yield line
