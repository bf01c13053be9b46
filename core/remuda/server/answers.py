"""`/api/generate` and `/api/chat`: round the web framework, through all that stands round it.

What the framework does for a request (tasks, contexts, objects that nobody looks at) takes as long as all the rest of
its way to an engine and back: a good part of what a short answer costs. These two requests need nothing of it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct

from ..wire import ChatRequest, GenerateRequest, decode, encode
from .client import client_of, upstreams_of
from .drain import Drain
from .exchange import ClientGone, Exchange, raw_headers
from .replies import JSON, NDJSON, STREAMING, Reply, error_reply
from .streams import LineStream, lines

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["ANSWERED", "Answers", "decoded"]

ANSWERED: Final = ("/api/generate", "/api/chat")
_BIG_BODY: Final = 256 * 1024
"""Bytes from which decoding would be felt by the streams beside it."""

_SHORT_BODY: Final = 16 * 1024
"""Bytes below which nothing in a request takes longer to check than a thread would take to begin."""

T = TypeVar("T", bound=Struct)


class Answers:
    """An application of ASGI's kind, but that it takes the exchange itself. Raises `ClientGone`, and what is wrong with
    a body that cannot be read to its end."""

    def __init__(self, pipeline: Pipeline, drain: Drain) -> None:
        self._pipeline, self._drain = pipeline, drain

    def takes(self, scope: dict[str, Any]) -> bool:
        """Whether the request is one for this application."""
        return scope["path"] in ANSWERED and scope["method"] == "POST"

    async def __call__(self, scope: dict[str, Any], exchange: Exchange, body: bytes | None = None) -> None:
        """`body` if somebody has read it before."""
        if body is None:
            body = await exchange.whole()
        with exchange.watched():
            try:
                await self._answer(scope, exchange, body)
            except ClientGone:
                raise
            except Exception as error:
                if exchange.status:
                    raise
                await exchange.answer(error_reply(error, exchange.request_id))

    async def _answer(self, scope: dict[str, Any], exchange: Exchange, body: bytes) -> None:
        client, upstreams, identity = client_of(scope), upstreams_of(scope), exchange.request_id
        short = len(body) < _SHORT_BODY
        if scope["path"] == "/api/chat":
            chat = await decoded(body, ChatRequest)
            work = self._pipeline.chat(chat, request_id=identity, client=client, upstreams=upstreams, short=short)
        else:
            text = await decoded(body, GenerateRequest)
            work = self._pipeline.generate(text, request_id=identity, client=client, upstreams=upstreams, short=short)
        reply = await self._drain.wait_for(work)
        if isinstance(reply, Struct):
            await exchange.answer(Reply(status=200, body=encode(reply), headers={"Content-Type": JSON}))
        else:
            await self._stream(reply, exchange)

    async def _stream(self, stream: LineStream, exchange: Exchange) -> None:
        exchange.closing.push_async_callback(stream.aclose)
        headers = raw_headers({"Content-Type": NDJSON, **STREAMING})
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(lines(stream, exchange, self._drain)) as pieces:
            async for line, more in pieces:
                await exchange.send({"type": "http.response.body", "body": line, "more_body": more})


async def decoded(body: bytes, type: type[T]) -> T:
    """Raises `BadRequest`."""
    return decode(body, type) if len(body) < _BIG_BODY else await asyncio.to_thread(decode, body, type)
