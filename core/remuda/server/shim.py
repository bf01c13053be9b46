"""The outermost layer: who gets in, and under which conditions. It holds nothing back: messages pass one by one.

In this order: HTTP version, framing, `Host` and `Origin`, a server that is shutting down, the declared size of the
body; then the application, inside an `Exchange`. Every reply carries `X-Request-Id`. Files on their way to the store go
round the application, which would hold a whole body in memory, but through all the rest; so do requests on their way to
an upstream, which the application need not understand, and those for text, to which it would only add time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..config import ServerConfig
from ..errors import BadRequest, Draining, Forbidden, RemudaError, UpstreamLoop
from ..plugins import stray
from ..remote import HOPS_HEADER, MOST_HOPS, hops
from .answers import Answers
from .blobs import Blobs
from .drain import Drain
from .exchange import ClientGone, Exchange, Receive, Send, enter_exchange, raw_headers
from .framing import check_framing, content_length, headers_of
from .guard import Guard
from .logs import choose_request_id, request_id
from .metrics import Replies
from .relay import Relay
from .replies import Reply, error_reply

__all__ = ["TRANSPORT", "Application", "Shim", "refuse_websocket"]

TRANSPORT = "remuda.transport"
"""Key in the scope's `state` under which a server hands over the connection, an `exchange.Transport`."""

_DIGITS: Final = 4

_log = logging.getLogger("remuda.server")
_access = logging.getLogger("remuda.access")

Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class Shim:
    def __init__(
        self,
        app: Application,
        answers: Answers,
        blobs: Blobs,
        relay: Relay,
        config: ServerConfig,
        guard: Guard,
        drain: Drain,
        replies: Replies,
    ) -> None:
        self._app = app
        self._answers = answers
        self._blobs = blobs
        self._relay = relay
        self._config = config
        self._guard = guard
        self._drain = drain
        self._replies = replies

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one `http` scope."""
        started = time.perf_counter()
        identity = choose_request_id(headers_of(scope, b"x-request-id"))
        request_id.set(identity)
        hops.set(_hops(scope))
        exchange = Exchange(
            identity,
            receive,
            send,
            max_body=self._config.max_body,
            write_timeout=self._config.write_timeout,
            transport=scope.get("state", {}).get(TRANSPORT),
        )
        enter_exchange(exchange)
        try:
            await self._serve(scope, exchange)
        except ClientGone:
            pass
        finally:
            status = 499 if exchange.gone else exchange.status
            self._replies.count(scope["method"], scope["path"], status)
            milliseconds = (time.perf_counter() - started) * 1000
            _access.info("%s %r %d %.1f ms", scope["method"], scope["path"], status, milliseconds)

    async def _serve(self, scope: dict[str, Any], exchange: Exchange) -> None:
        try:
            scope = check_framing(scope)
            host, origin = (headers_of(scope, name) for name in (b"host", b"origin"))
            verdict = self._guard.judge(scope["method"], host[0] if host else "", origin[0] if origin else None)
            exchange.add_headers(verdict.headers)
            if verdict.status == 204:
                await exchange.refuse(Reply(status=204))
                return
            if verdict.status:
                raise Forbidden(verdict.reason)
            if self._drain.draining:
                raise Draining
            if hops.get() > MOST_HOPS:
                raise UpstreamLoop("the upstreams of this server lead back to it: correct their addresses")
            if self._blobs.takes(scope):
                exchange.max_body = None
            elif (content_length(scope) or 0) > self._config.max_body:
                raise exchange.too_large()
        except RemudaError as error:
            await exchange.refuse(error_reply(error, exchange.request_id))
            return
        with self._drain.request():
            await self._run(scope, exchange)

    async def _run(self, scope: dict[str, Any], exchange: Exchange) -> None:
        try:
            async with exchange.closing:
                if self._blobs.takes(scope):
                    await self._blobs(scope, exchange)
                elif self._relay.takes(scope):
                    await self._relay(scope, exchange)
                elif self._answers.takes(scope):
                    await self._answers(scope, exchange)
                else:
                    await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            pass
        except BaseException as raised:
            if not isinstance(raised, Exception) and not stray(raised):
                raise
            error = raised if isinstance(raised, Exception) else _as_exception(raised)
            if exchange.gone:
                _log.debug("after the client left: %r", error)
            elif exchange.status:
                _log.error("a reply was cut short", exc_info=error)
                exchange.abort()
            else:
                await exchange.refuse(error_reply(exchange.fault or error, exchange.request_id))


def _as_exception(error: BaseException) -> Exception:
    """For one that would end the server and not only the request."""
    made = RuntimeError(f"somebody's code raised {type(error).__name__}")
    made.__cause__ = error
    return made


def _hops(scope: dict[str, Any]) -> int:
    said = next(iter(headers_of(scope, HOPS_HEADER.lower().encode())), "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < _DIGITS else 0


async def refuse_websocket(scope: dict[str, Any], send: Send) -> None:
    """There are none here: a reply in the form of every other error, where the server can send one."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    identity = choose_request_id(headers_of(scope, b"x-request-id"))
    reply = error_reply(BadRequest("this server has no websockets; use plain HTTP requests"), identity)
    headers = {**reply.headers, "Content-Length": str(len(reply.body)), "Connection": "close", "X-Request-Id": identity}
    start = {"type": "websocket.http.response.start", "status": reply.status, "headers": raw_headers(headers)}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": reply.body, "more_body": False})
