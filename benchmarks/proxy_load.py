"""`python -m benchmarks.proxy_load`: asks, and takes the time. An order a line on standard input, an answer a line out.

Unary requests arrive at fixed times, whether those before are answered or not. The latency of each counts from the
moment at which the generator hands it out, so that waiting for a free connection counts; how late the generator was
itself is told apart. Of streams only the ends of lines are counted. It shares the cores with what it measures.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from collections import deque

import msgspec
from msgspec import Struct

from .proxy_messages import Dialect, request, whole

__all__ = ["Order", "Streamed", "Unary", "main"]

_BUFFER = 256 * 1024
_LINE_END = b"}\n"
"""Lines of both dialects end so, and nothing else does."""
_CHUNKS_END = b"0\r\n\r\n"
_BEGIN_SECONDS = 20.0
"""How long streams may take until all have begun: the first are in full flow then, and hold up the last."""


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do for so many seconds: `rate` requests a second over at most so many connections, or, if `lines` is not
    0, a stream on each connection, again and again."""

    port: int
    dialect: Dialect
    seconds: float
    connections: int
    rate: float = 0.0
    lines: int = 0


class Unary(Struct, frozen=True):
    """What became of unary requests. Times in milliseconds."""

    sent: int
    rate: float
    """Answers a second, until the last one came or was given up."""
    errors: int
    """Replies other than 200, and connections that broke off."""
    lost: int
    """Those not answered in twice the time; they count with the time until then."""
    latencies: list[float]
    """In growing order."""
    late: float
    """How late the generator was with a request: the 99th percentile."""


class Streamed(Struct, frozen=True):
    """What came of streams."""

    rate: float
    """Lines a second, from the moment at which all streams had begun."""
    lines: int
    """Whole lines, from the very start."""
    begun: int
    """Streams that brought a line."""
    errors: int
    """Replies other than 200, and streams that broke off."""


class _Client(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._buffer = bytearray()
        self.due = 0.0
        """When the request that it works on was handed out; 0 while there is none."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, message: bytes, due: float) -> None:
        self.due = due
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if whole(self._buffer):
            good = self._buffer.startswith(b"HTTP/1.1 200 ")
            self._buffer.clear()
            due, self.due = self.due, 0.0
            self._crowd.answered(self, due, good)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.gone(self)


class _Crowd:
    """Unary requests at a fixed rate."""

    def __init__(self, order: Order) -> None:
        self._order, self._message = order, request(order.dialect, order.port)
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Client] = []
        self._all: set[_Client] = set()
        self._opening = 0
        self._waiting: deque[float] = deque()
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._sent = self._errors = 0
        self._total = max(1, round(order.rate * order.seconds))
        self._complete = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Unary:
        self._began = time.perf_counter()
        self._tick()
        try:
            async with asyncio.timeout(self._order.seconds * 2):
                await self._complete.wait()
        except TimeoutError:
            pass
        now, lost = time.perf_counter(), [*self._waiting, *(each.due for each in self._all if each.due)]
        for each in list(self._all):
            each.transport.abort()
        for task in self._tasks:
            task.cancel()
        self._latencies += [now - due for due in lost]
        times = sorted(round(each * 1000, 4) for each in self._latencies)
        late = sorted(self._late)[int(len(self._late) * 0.99)] * 1000
        rate = (self._sent - len(lost)) / (now - self._began)
        return Unary(self._sent, round(rate, 1), self._errors, len(lost), times, round(late, 4))

    def _tick(self) -> None:
        now = time.perf_counter()
        while self._sent < self._total and (due := self._began + self._sent / self._order.rate) <= now:
            self._late.append(now - due)
            self._sent += 1
            self._hand_out(now)
        if self._sent < self._total:
            self._loop.call_later(self._began + self._sent / self._order.rate - now, self._tick)

    def _hand_out(self, due: float) -> None:
        if self._idle:
            self._idle.pop().ask(self._message, due)
            return
        self._waiting.append(due)
        if len(self._all) + self._opening < self._order.connections:
            self._opening += 1
            task = self._loop.create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        try:
            _, client = await self._loop.create_connection(lambda: _Client(self), "127.0.0.1", self._order.port)
        except OSError:
            self._errors += 1
            if self._waiting:
                self._answer(self._waiting.popleft())
            return
        finally:
            self._opening -= 1
        self._all.add(client)
        self._free(client)

    def _free(self, client: _Client) -> None:
        if self._waiting:
            client.ask(self._message, self._waiting.popleft())
        else:
            self._idle.append(client)

    def answered(self, client: _Client, due: float, good: bool) -> None:
        if due:
            self._answer(due)
            self._errors += not good
            self._free(client)

    def _answer(self, due: float) -> None:
        self._latencies.append(time.perf_counter() - due)
        if len(self._latencies) == self._total:
            self._complete.set()

    def gone(self, client: _Client) -> None:
        self._all.discard(client)
        if client in self._idle:
            self._idle.remove(client)
        if client.due and not self._complete.is_set():
            self._errors += 1
            self._answer(client.due)


class _Reader(asyncio.Protocol):
    """Streams, one after the other, over one connection."""

    def __init__(self, audience: _Audience) -> None:
        self._audience, self._tail, self._head, self.begun = audience, b"", True, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self) -> None:
        self.transport.write(self._audience.message)

    def data_received(self, data: bytes) -> None:
        audience = self._audience
        lines = data.count(_LINE_END) + (self._tail.endswith(b"}") and data.startswith(b"\n"))
        if self._head:
            self._head = False
            audience.errors += not data.startswith(b"HTTP/1.1 200 ")
        if lines:
            audience.lines += lines
            if not self.begun:
                self.begun = True
                audience.begin()
        self._tail = (self._tail + data[-len(_CHUNKS_END) :])[-len(_CHUNKS_END) :]
        if self._tail == _CHUNKS_END:
            self._head = True
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._audience.errors += not self._audience.over


class _Audience:
    """Readers of streams."""

    def __init__(self, order: Order) -> None:
        self._order, self.message = order, request(order.dialect, order.port, order.lines)
        self.lines = self.errors = self._begun = 0
        self.over = False
        self._all_begun = asyncio.Event()

    def begin(self) -> None:
        self._begun += 1
        if self._begun == self._order.connections:
            self._all_begun.set()

    async def run(self) -> Streamed:
        readers: list[_Reader] = []
        try:
            try:
                async with asyncio.timeout(_BEGIN_SECONDS):
                    while len(readers) < self._order.connections:
                        readers.append(await self._open())
                    for reader in readers:  # not before all are connected: the first would drown the last
                        reader.ask()
                    await self._all_begun.wait()
            except (OSError, TimeoutError):  # measured all the same: `begun` tells
                pass
            began, before = time.perf_counter(), self.lines
            await asyncio.sleep(self._order.seconds)
            rate = (self.lines - before) / (time.perf_counter() - began)
        finally:
            self.over = True
            for reader in readers:
                reader.transport.abort()
        return Streamed(round(rate, 1), self.lines, self._begun, self.errors)

    async def _open(self) -> _Reader:
        loop, wire = asyncio.get_running_loop(), socket.socket()
        try:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # hundreds of streams: not megabytes each
            wire.setblocking(False)
            await loop.sock_connect(wire, ("127.0.0.1", self._order.port))
            _, reader = await loop.create_connection(lambda: _Reader(self), sock=wire)
        except BaseException:
            wire.close()
            raise
        return reader


async def _carry_out(order: Order) -> Unary | Streamed:
    return await (_Audience(order) if order.lines else _Crowd(order)).run()


def main() -> None:
    gc.disable()  # a collection in the middle would be taken for latency of somebody else
    for line in sys.stdin:
        answer = asyncio.run(_carry_out(msgspec.json.decode(line, type=Order)))
        print(msgspec.json.encode(answer).decode(), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
