"""One TCP connection under Hypercorn's HTTP/1.1, with what its own server would not let us do.

Hypercorn's `serve` decides by itself when to stop accepting and how long to wait, keeps a connection open for as long
as a client that stopped reading likes, and follows any client into HTTP/2, where one connection opens streams without
end. Its connection class, used from here, has none of these: the caller owns the listener and every transport.
Written against Hypercorn 0.18, which the project's requirements pin.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import AppWrapper, ConnectionState, H11SendableEvent

from .exchange import raw_headers
from .framing import MAX_HEADERS
from .logs import choose_request_id
from .replies import Refused, error_reply
from .shim import TRANSPORT

__all__ = ["Connection", "WatchedReader", "hypercorn_config"]

_log = logging.getLogger("remuda.server.http")


def hypercorn_config(idle_timeout: float) -> Config:
    """`idle_timeout` in seconds bounds the wait for a request's headers as well as for the next request."""
    config = Config()
    config.alpn_protocols = ["http/1.1"]
    config.errorlog = _log
    config.accesslog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = MAX_HEADERS
    config.keep_alive_max_requests = 1_000_000
    config.keep_alive_timeout = idle_timeout
    config.read_timeout = None  # would count while we stream, and nobody is expected to speak then
    return config


class WatchedReader(asyncio.StreamReader):
    """Calls `on_end` at once when no more data will come, even while nobody reads.

    Hypercorn stops reading when a second request waits behind the first: the disconnect behind it would stay unseen
    for as long as the first one loads a model.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=2**16, loop=loop)
        self.on_end: Callable[[], object] = lambda: None

    def feed_eof(self) -> None:
        super().feed_eof()
        self.on_end()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.on_end()


class Connection(TCPServer):
    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        reader: WatchedReader,
        writer: asyncio.StreamWriter,
        *,
        close_limit: float,
    ) -> None:
        """`close_limit` in seconds: how long a client may take to read what was sent before the connection closed."""
        state: dict[str, Any] = {TRANSPORT: self}  # has what `Exchange` wants of a transport
        super().__init__(app, asyncio.get_running_loop(), config, context, state, reader, writer)
        self._close_limit = close_limit
        self._late: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        """Runs while no request does."""
        self._watched = reader

    async def run(self) -> None:
        """Serve until either side ends the connection. Never raises for what a client did."""
        try:
            await self._serve()
        except* OSError as errors:
            _log.debug("connection lost: %r", errors.exceptions)
        finally:
            await self._close()
            self._be_idle(False)
            if self._late is not None:
                self._late.cancel()

    def leave(self) -> None:
        """Close as soon as no request runs."""
        if self._idle is not None:
            self._be_idle(True)

    def abort(self) -> None:
        """Drop the client and all that waits for it, in the kernel's buffers too: it meets a reset."""
        sock: socket.socket | None = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def ending(self) -> None:
        protocol = self.protocol.protocol
        assert isinstance(protocol, _Http1)
        protocol.ending = True

    def is_closing(self) -> bool:
        return self.writer.is_closing()

    def is_empty(self) -> bool:
        return not self.writer.transport.get_write_buffer_size()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self._be_idle(event.idle)
        else:
            await super().protocol_send(event)

    def _be_idle(self, idle: bool) -> None:
        """Hypercorn keeps a task for this, which is ended, awaited and begun anew for each request; a timer does as
        well."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if idle:
            seconds = 0.0 if self.context.terminated.is_set() else self.config.keep_alive_timeout
            self._idle = self.loop.call_later(seconds, self._over)

    def _over(self) -> None:
        self._task_group.spawn(self._initiate_server_close)  # pyright: ignore[reportUnknownMemberType]

    async def _serve(self) -> None:
        sock = self.writer.get_extra_info("socket")
        client: tuple[str, int] = sock.getpeername()[:2]
        server: tuple[str, int] = sock.getsockname()[:2]
        async with TaskGroup(self.loop) as group:
            self._task_group = group
            self.protocol = _Http1Wrapper(
                self.app,
                self.config,
                self.context,
                group,
                ConnectionState(self.state),
                False,
                client,
                server,
                self.protocol_send,
            )
            self._be_idle(True)
            await self._read_data()

    async def _close(self) -> None:
        limit = asyncio.timeout(self._close_limit)
        try:
            async with limit:
                await super()._close()
        except OSError:
            self.abort()
        if limit.expired():  # asked, not caught: the method above swallows cancellation
            self.abort()

    async def _initiate_server_close(self) -> None:
        await super()._initiate_server_close()
        self._late = self.loop.call_later(self._close_limit, self.abort)

    async def _read_data(self) -> None:
        """Until no more data comes; what then still runs is told that its client left."""
        reading = self.loop.create_task(super()._read_data())
        self._watched.on_end = reading.cancel
        try:
            await asyncio.wait((reading,))
        finally:
            reading.cancel()
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error
        await self.protocol.handle(Closed())
        self._be_idle(False)


class _Http1(H11Protocol):
    _head = b""
    """Of a reply, for as long as what follows it may come at once: one write, and for the client one packet, less."""
    _late: asyncio.Task[None] | None = None
    ending = False
    """The next data are the last of a reply: they wait for the mark of its end, which comes at once."""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = bytes(data or b"")
            asyncio.get_running_loop().call_soon(self._nothing_followed)
            return
        head, self._head = self._head, b""
        if self.ending and isinstance(event, h11.Data):
            self._head = head + (data or b"")
        elif head or data:
            await self.send(RawData(data=head + (data or b"")))
        self.ending = self.ending and not isinstance(event, h11.EndOfMessage)

    def _nothing_followed(self) -> None:
        if self._head:
            self._late = asyncio.ensure_future(self._send_head())

    async def _send_head(self) -> None:
        head, self._head = self._head, b""  # only now: what came meanwhile has taken it along
        if head:
            await self.send(RawData(data=head))

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay with HTTP/1: an offer to upgrade may be ignored (RFC 9110, 7.8), and `PRI` meets the shim's 505."""

    async def _send_error_response(self, status_code: int) -> None:
        """Answer what h11 could not read, in the form of every other error."""
        identity = choose_request_id([])
        reason = f"{HTTPStatus(status_code).phrase}: this is no request that HTTP/1.1 allows"
        reply = error_reply(Refused(status_code, reason), identity)
        headers = {**reply.headers, "Content-Length": str(len(reply.body)), "Connection": "close"}
        raw = raw_headers({**headers, "X-Request-Id": identity}) + self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(headers=raw, status_code=status_code))
        await self._send_h11_event(h11.Data(data=reply.body))
        await self._send_h11_event(h11.EndOfMessage())


class _Http1Wrapper(ProtocolWrapper):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.protocol = _Http1(*args)
