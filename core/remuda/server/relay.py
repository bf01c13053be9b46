"""Requests for models of upstreams, handed on unread: round the application, through all that stands round it.

The body is looked into for the model's name. A request that is not for an upstream, or that has to be understood on its
way, goes to the application as if nobody had read it. The reply comes through line by line, and no faster than the
client reads it; when the client leaves, the exchange with the upstream ends.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from ..errors import RemudaError, RequestCancelled
from ..remote import Passed
from ..wire import UPSTREAM_HEADER
from .answers import Answers
from .client import client_of, upstreams_of
from .drain import Drain
from .exchange import ClientGone, Exchange, Receive, raw_headers
from .replies import NDJSON, STREAMING, error_line, error_reply

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from .shim import Application

__all__ = ["Relay"]

_PATHS: Final = frozenset({"/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"})


class Relay:
    """An application of ASGI's kind, but that it takes the exchange itself. Raises `RemudaError` and `ClientGone`."""

    def __init__(self, pipeline: Pipeline, drain: Drain, answers: Answers, application: Application) -> None:
        """The last two take what is not for upstreams."""
        self._pipeline, self._drain = pipeline, drain
        self._answers, self._application = answers, application

    def takes(self, scope: dict[str, Any]) -> bool:
        """Whether the request may be one for upstreams."""
        return self._pipeline.front is not None and scope["path"] in _PATHS and scope["method"] == "POST"

    async def __call__(self, scope: dict[str, Any], exchange: Exchange) -> None:
        body = await exchange.whole()
        try:
            passed = await self._pass(scope, exchange, body)
        except RequestCancelled as error:
            raise ClientGone("the client left") from error
        except RemudaError as error:
            if exchange.status:
                raise
            await exchange.answer(error_reply(error, exchange.request_id))
            return
        if not passed and self._answers.takes(scope):
            await self._answers(scope, exchange, body)
        elif not passed:
            await self._application(scope, _again(body, exchange), exchange.send)

    async def _pass(self, scope: dict[str, Any], exchange: Exchange, body: bytes) -> bool:
        """Whether the request was one that can be passed on, and was."""
        front = self._pipeline.front
        if front is None:
            return False
        passing = front.passing(scope["path"], body, upstreams_of(scope), exchange.request_id, client_of(scope))
        with exchange.watched():
            async with AsyncExitStack() as stack:
                passed = await self._drain.wait_for(stack.enter_async_context(passing))
                if passed is not None:
                    try:
                        await self._send(passed, exchange)
                    except ClientGone as error:
                        raise RequestCancelled("the client left") from error
        return passed is not None

    async def _send(self, passed: Passed, exchange: Exchange) -> None:
        lines = passed.headers.get("Content-Type", "").startswith(NDJSON)
        headers = {**passed.headers, **(STREAMING if lines else {}), UPSTREAM_HEADER: passed.upstream}
        await exchange.send({"type": "http.response.start", "status": passed.status, "headers": raw_headers(headers)})
        held = b""
        """Of what is no stream the last piece, which then ends the reply: one write less."""
        pieces = aiter(passed)
        try:
            while True:
                try:
                    piece = await self._drain.next_of(pieces)
                except StopAsyncIteration:
                    break
                if not lines:
                    held, piece = piece, held
                if piece:
                    await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
        except RemudaError as error:
            if not lines:
                exchange.abort()  # nothing else tells a client that what it has is not the whole
                raise ClientGone("the reply broke off") from error
            held = error_line(error, exchange.request_id)
        await exchange.send({"type": "http.response.body", "body": held, "more_body": False})


def _again(body: bytes, exchange: Exchange) -> Receive:
    """A `receive` that begins with a body that was read before."""
    unread = True

    async def receive() -> Any:
        nonlocal unread
        if not unread:
            return await exchange.receive()
        unread = False
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
