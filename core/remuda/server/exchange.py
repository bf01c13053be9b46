"""One request and its reply, between the HTTP server and the application: everything that can go wrong on the wire.

The application sees plain ASGI. Around it stand: the cap on the body, the deadline of a body that stops coming, the
note that the client left, the limit for a client that stops reading, and the closing of what the request opened.

A streaming application that never suspends (a backlog, a file) would hold the event loop for ever, because a write to
a client that left fails without a word and nobody gets to read the disconnect. So every eighth message lets the loop
run, and once the client is gone `send` raises `ClientGone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from ..errors import RemudaError, RequestTooLarge
from .replies import Refused, Reply

__all__ = [
    "ClientGone",
    "Exchange",
    "Receive",
    "Send",
    "Transport",
    "current_exchange",
    "enter_exchange",
    "raw_headers",
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_GAP: Final = 30.0
"""Seconds that may pass between two pieces of a request's body."""
LINGER: Final = 5.0
"""Seconds, and below bytes, of unwanted body that are read and dropped: a connection closed on unread data is reset,
and the reset can destroy the reply on its way."""
LINGER_BYTES: Final = 256 * 1024 * 1024
YIELD_EVERY: Final = 8
SOON: Final = 0.02
"""Seconds."""
SHORT: Final = 16 * 1024
"""Bytes that a connection takes whether its client reads or not."""


class ClientGone(ConnectionError):
    """Raised into the application when nobody is left to read what it sends."""


class Transport(Protocol):
    """What is needed of a connection."""

    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...

    def ending(self) -> None:
        """The next message is the last one of a reply, so that all of it can go out at once."""
        ...

    def is_empty(self) -> bool:
        """Nothing waits to be sent: a short message goes out at once."""
        ...


class Exchange:
    def __init__(
        self,
        request_id: str,
        receive: Receive,
        send: Send,
        *,
        max_body: int,
        write_timeout: float,
        transport: Transport | None = None,
    ) -> None:
        self.request_id = request_id
        self.max_body: int | None = max_body
        """Bytes; None is no bound."""
        self.gone = False
        """The client left, or counts as gone because it stopped reading."""
        self.status = 0
        """Of the reply; 0 before it started."""
        self.fault: RemudaError | None = None
        """What `receive` raised; a framework may hand it on in a wrapping of its own."""
        self.closing = AsyncExitStack()
        """Closed when the request ends, however it ends. An async generator handed to the framework is not closed by
        it when the client leaves before the first byte: push its `aclose` here."""
        self._receive = receive
        self._send = send
        self._write_timeout = write_timeout
        self._transport = transport
        self._headers = [(b"x-request-id", request_id.encode())]
        self._received = 0
        self._writes = 0
        self._ended = False
        self._body_over = asyncio.Event()

    async def receive(self) -> Message:
        """As ASGI has it. Raises `RequestTooLarge`, or `Refused` when the body stops coming."""
        if self._body_over.is_set():
            message = await self._receive()
        else:
            try:
                async with asyncio.timeout(BODY_GAP):
                    message = await self._receive()
            except TimeoutError:
                self.fault = Refused(408, f"the request body stopped for {BODY_GAP:.0f} seconds")
                raise self.fault from None
        if message["type"] == "http.disconnect":
            self.gone = not self._ended  # it also follows the end of a reply
            self._body_over.set()
        elif message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._body_over.set()
            if self.status:
                message = {**message, "body": b""}
            elif self.max_body is not None and self._received > self.max_body:
                self.fault = self.too_large()
                raise self.fault
        return message

    async def piece(self) -> bytes:
        """The next bytes of the body; none at its end. Raises `ClientGone`, and what `receive` raises."""
        while not self._body_over.is_set():
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the client left")
            if body := bytes(message.get("body", b"")):
                return body
        return b""

    async def whole(self) -> bytes:
        """The body, as `piece`."""
        pieces: list[bytes] = []
        while piece := await self.piece():
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @contextmanager
    def watched(self) -> Generator[None, None, None]:
        """Round work that is in vain without the client: it is cancelled when the client leaves, and `ClientGone`
        raised in its place. The body must have been read."""
        task = asyncio.current_task()
        assert task is not None
        watching: asyncio.Future[Any] | None = None

        def watch() -> None:
            nonlocal watching
            watching = asyncio.ensure_future(self.receive())
            watching.add_done_callback(left)

        def left(_: object) -> None:
            if self.gone:
                task.cancel()

        # What is over before anybody can have lost patience needs no watching.
        soon = asyncio.get_running_loop().call_later(SOON, watch)
        try:
            yield
        except asyncio.CancelledError:
            if self.gone and not task.uncancel():
                raise ClientGone("the client left") from None
            raise
        finally:
            soon.cancel()
            if watching is not None:
                watching.remove_done_callback(left)
                watching.cancel()

    async def send(self, message: Message) -> None:
        """As ASGI has it. Raises `ClientGone`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif not message.get("more_body", False) and not self._body_over.is_set():
            await self._write({**message, "more_body": True})
            await self._linger()
            message = {**message, "body": b""}
        self._writes += 1
        if self._writes % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        self._ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._ended and self._transport is not None:
            self._transport.ending()
        await self._write(message)

    async def answer(self, reply: Reply) -> None:
        """Send `reply` where no application does. What the client still sends is read to its end and dropped."""
        headers = reply.headers | {"Content-Length": str(len(reply.body))}
        await self.send({"type": "http.response.start", "status": reply.status, "headers": raw_headers(headers)})
        if not self._body_over.is_set():
            await self.send({"type": "http.response.body", "body": reply.body, "more_body": True})
            reply = Reply(status=reply.status)
        while not self._body_over.is_set():
            await self.receive()
        await self.send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def refuse(self, reply: Reply) -> None:
        """Send `reply` where no application does, and end the connection."""
        headers = dict(reply.headers)
        if reply.status >= 400:  # the only other one is 204, which has no length (RFC 9110, 8.6)
            headers |= {"Content-Length": str(len(reply.body)), "Connection": "close"}
        await self.send({"type": "http.response.start", "status": reply.status, "headers": raw_headers(headers)})
        reading = asyncio.create_task(self._drop_body())
        try:
            await self.send({"type": "http.response.body", "body": reply.body, "more_body": False})
        finally:
            reading.cancel()
            await asyncio.wait((reading,))

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Put into the reply, whoever makes it."""
        self._headers += raw_headers(headers)

    def too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"the request body is larger than {self.max_body} bytes (server.max_body)")

    def abort(self) -> None:
        """Drop the client, and with it what waits to be sent."""
        self.gone = True
        if self._transport is not None:
            self._transport.abort()

    async def _write(self, message: Message) -> None:
        if self.gone or (self._transport is not None and self._transport.is_closing()):
            self.gone = True
            raise ClientGone("the client left")
        at_once = self._transport is not None and self._transport.is_empty()
        short = len(message.get("body", b"")) < SHORT
        stall = asyncio.timeout(self._write_timeout)
        try:
            if at_once and short:
                await self._send(message)
            else:
                async with stall:
                    await self._send(message)
        except OSError as error:  # a TimeoutError is one
            if stall.expired():
                self.abort()
            self.gone = True
            raise ClientGone("the client stopped reading" if stall.expired() else "the client left") from error

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER):
                await self._body_over.wait()
        except TimeoutError:
            pass

    async def _drop_body(self) -> None:
        try:
            while not self._body_over.is_set() and self._received < LINGER_BYTES:
                await self.receive()
        except Refused:
            pass
        finally:
            self._body_over.set()


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI wants them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


_exchange: ContextVar[Exchange] = ContextVar("remuda_exchange")


def current_exchange() -> Exchange:
    """The request that the running task serves."""
    return _exchange.get()


def enter_exchange(exchange: Exchange) -> None:
    _exchange.set(exchange)
