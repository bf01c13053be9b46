"""A generation as NDJSON: one JSON object and a newline per event, each flushed by itself (Ollama API, "HTTP")."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from quart import Response

from ..errors import Draining, EngineError
from ..wire import ChatResponse, GenerateResponse, encode_line
from .drain import Drain
from .exchange import Exchange
from .replies import NDJSON, error_line

__all__ = ["LineStream", "ndjson_response"]

_log = logging.getLogger("remuda.server")


class LineStream(Protocol):
    """Responses, one by one; the last one says so."""

    def __aiter__(self) -> AsyncIterator[GenerateResponse] | AsyncIterator[ChatResponse]: ...

    async def aclose(self) -> None: ...


def ndjson_response(stream: LineStream, exchange: Exchange, drain: Drain) -> Response:
    """The reply that sends `stream`, which is closed with the request whatever becomes of it."""
    exchange.closing.push_async_callback(stream.aclose)
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-transform"}
    response = Response(_lines(stream, exchange, drain), content_type=NDJSON, headers=headers)
    response.timeout = None
    return response


async def _lines(stream: LineStream, exchange: Exchange, drain: Drain) -> AsyncGenerator[bytes, None]:
    """Ends with exactly one of a `done: true` line and an error line, unless the client left."""
    done = False
    try:
        items = aiter(stream)
        while True:
            if drain.over:  # a stream that is always ready never waits, and `wait_for` interrupts only waits
                raise Draining
            try:
                item = await drain.wait_for(anext(items))
            except StopAsyncIteration:
                break
            if done:
                _log.error("the pipeline went on after done:true")
                continue
            done = item.done
            yield encode_line(item)
        if not done:
            raise EngineError("the model's stream broke off before its end; try again")
    except Exception as error:
        line = error_line(error, exchange.request_id)
        if not done:
            yield line
