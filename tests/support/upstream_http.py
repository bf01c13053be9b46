"""The HTTP of the scripted upstream (`upstream`): one connection, its requests, its replies, and how they go wrong.

Written by hand, because the tests are about what no library would send: a reset in the middle, half a line, silence.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

__all__ = ["NONE", "Connection", "Fault", "House", "Reply", "Seen"]

_HEAD_LIMIT = 256 * 1024


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """By their names in small letters."""
    body: bytes = b""
    connection: int = 0
    """The number of its connection, from 1."""
    turn: int = 0
    """Its number on that connection, from 0: above that, the connection was kept from an earlier request."""

    @property
    def kind(self) -> str:
        return f"{self.method} {self.path}"

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of, or during, its usual reply. Lines are counted from the reply's first; a
    reply that is one JSON object counts as two, its halves."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """With `status`: of that reply; else added to the usual one."""
    body: bytes = b""
    refuse: bool = False
    """The connection is reset as soon as the request is read. On a connection that was kept from an earlier request a
    client takes that for a stale one and tries again, so there it needs two of these."""
    stall: str | int | None = None
    """Nothing more is sent, ever: before the head ("head"), after it ("body"), or after so many lines."""
    cut: int | None = None
    """The connection is reset after so many lines."""
    clean: bool = False
    """With `cut`: a proper end instead, only too early."""
    fin: bool = False
    """With `cut`: the connection is closed, not reset, and not properly ended either."""
    flood: bool = False
    """One line without an end."""
    trickle: float = 0.0
    """Seconds between two bytes of the body."""
    redirect: str = ""
    garbage: bool = False
    """Bytes that are not HTTP."""
    error_line: str = ""
    """The error that the dialect's stream ends with, after the lines that `after` counts."""
    after: int = 0
    gzip: bool = False
    close: bool = False
    """The body has no length and ends with the connection."""
    early: bool = False
    """The reply is sent before the request's body is read; then the body is read and thrown away."""
    deaf: bool = False
    """The request's body is never read, nor is there a reply; a client that leaves is not noticed."""


NONE = Fault()


@dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes | AsyncGenerator[bytes, None] = b""
    """Bytes go with their length, a generator's one chunk each."""


class House(Protocol):
    """What a connection needs of its upstream."""

    def number(self, connection: Connection) -> int: ...
    def gone(self, connection: Connection) -> None: ...
    def stale(self, seen: Seen) -> bool: ...
    def saw(self, seen: Seen) -> None: ...
    def fault(self, seen: Seen) -> Fault: ...
    def error_line(self, text: str) -> bytes: ...
    def ended(self, *, left: bool, failure: BaseException | None) -> None: ...
    async def answer(self, seen: Seen) -> Reply: ...


class Connection(asyncio.StreamReaderProtocol):
    def __init__(self, house: House) -> None:
        self.reader = asyncio.StreamReader(limit=_HEAD_LIMIT)
        super().__init__(self.reader, self._serve)
        self.house = house
        self.writer: asyncio.StreamWriter
        self.work: asyncio.Task[bool] | None = None
        """Of the request in hand; None means idle."""
        self.left = False
        self.drains = False
        """The reply is sent, and what still comes of the request is thrown away: now the client may leave."""

    def eof_received(self) -> bool:
        self._leave()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.house.gone(self)
        super().connection_lost(exc)

    def _leave(self) -> None:
        self.left = True
        if self.work is not None and not self.drains:
            self.work.cancel()

    def abort(self, *, reset: bool = False) -> None:
        """Closes at once; with `reset` the other side is told that it was no proper end."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        number, turn = self.house.number(self), 0
        try:
            while (seen := await self._head()) is not None:
                seen.connection, seen.turn, turn = number, turn, turn + 1
                if self.house.stale(seen) or not await self._one(seen):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _head(self) -> Seen | None:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        return Seen(method, path, {name.strip().lower(): value.strip() for name, _, value in pairs})

    async def _one(self, seen: Seen) -> bool:
        """Whether the connection can be used again."""
        fault = self.house.fault(seen)
        if not fault.early and not fault.deaf:
            seen.body = await self._body(seen)
        self.house.saw(seen)
        self.work = asyncio.ensure_future(self._reply(seen, fault))
        if self.left:
            self.work.cancel()
        await asyncio.wait([self.work])
        work, self.work = self.work, None
        failure = None if work.cancelled() else work.exception()
        left = work.cancelled() or isinstance(failure, OSError)
        self.house.ended(left=left, failure=None if left else failure)
        if left or failure:
            self.writer.transport.abort()
        return not left and not failure and work.result() and seen.headers.get("connection") != "close"

    async def _body(self, seen: Seen) -> bytes:
        if seen.headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if seen.headers.get("transfer-encoding") == "chunked":
            pieces: list[bytes] = []
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                pieces.append((await self.reader.readexactly(size + 2))[:-2])
            await self.reader.readline()
            return b"".join(pieces)
        return await self.reader.readexactly(int(seen.headers.get("content-length", "0")))

    async def _reply(self, seen: Seen, fault: Fault) -> bool:
        if fault.refuse:
            self.abort(reset=True)
            return False
        if fault.stall == "head" or fault.deaf:
            await _forever()
        if fault.garbage:
            await self._write(b"\x15\x03\x01\x00\x02\x02\x28 this is not what you think it is\r\n\r\n")
            return False
        reply = await self._plain(seen, fault)
        ends = await self._send(seen, reply, fault)
        if fault.early:
            self.drains = True
            self.writer.write_eof()
            while await self.reader.read(65536):
                pass
        return ends and not fault.early

    async def _plain(self, seen: Seen, fault: Fault) -> Reply:
        if fault.redirect:
            return Reply(307, {"Location": fault.redirect})
        if fault.status:
            return Reply(fault.status, {"Content-Type": "application/json", **fault.headers}, fault.body)
        if fault.flood:
            return Reply(200, {"Content-Type": "application/x-ndjson"}, _flood())
        reply = await self.house.answer(seen)
        reply.headers |= fault.headers
        if fault.gzip:
            whole = reply.body if isinstance(reply.body, bytes) else b"".join([piece async for piece in reply.body])
            reply.body = gzip.compress(whole)
            reply.headers["Content-Encoding"] = "gzip"
        return reply

    async def _send(self, seen: Seen, reply: Reply, fault: Fault) -> bool:
        chunked = not isinstance(reply.body, bytes) and not fault.close
        headers = dict(reply.headers)
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif isinstance(reply.body, bytes) and not fault.close:
            headers["Content-Length"] = str(len(reply.body))
        if fault.close or fault.early:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self._write(f"HTTP/1.1 {reply.status} {_phrase(reply.status)}\r\n{lines}\r\n".encode("latin-1"))
        if seen.method == "HEAD" or reply.status in {204, 304}:
            return True
        whole = await self._pieces(_shaped(reply.body, fault, self.house.error_line), fault, chunked=chunked)
        if not whole and not fault.clean:
            if not fault.fin:
                self.abort(reset=True)
            return False
        if chunked:
            await self._write(b"0\r\n\r\n")
        return not fault.close and (whole or chunked)

    async def _pieces(self, pieces: AsyncIterator[bytes], fault: Fault, *, chunked: bool) -> bool:
        """Whether they were all sent."""
        sent = 0
        stall = 0 if fault.stall == "body" else fault.stall
        async for piece in pieces:
            if sent == stall:
                await _forever()
            if sent == fault.cut:
                return False
            for part in _bytes(piece) if fault.trickle else (piece,) if piece else ():  # an empty chunk is the last
                await self._write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                if fault.trickle:
                    await asyncio.sleep(fault.trickle)
            sent += 1
        if stall is not None and chunked:  # else the reply is whole by its length
            await _forever()
        return fault.cut is None

    async def _write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Odd"


def _bytes(piece: bytes) -> Iterable[bytes]:
    return (piece[at : at + 1] for at in range(len(piece)))


async def _forever() -> None:
    await asyncio.Event().wait()


async def _flood() -> AsyncGenerator[bytes, None]:
    while True:
        yield b"x" * 65536


async def _shaped(body: bytes | AsyncGenerator[bytes, None], fault: Fault, error_line: Any) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        half = (len(body) + 1) // 2
        for piece in (body[:half], body[half:]):
            if piece:
                yield piece
        return
    sent = 0
    try:
        async for line in body:
            if fault.error_line and sent == fault.after:
                break
            yield line
            sent += 1
        if fault.error_line:
            yield error_line(fault.error_line)
    finally:
        await body.aclose()
