"""`python -m benchmarks.proxy_upstream`: a model server that knows all its answers beforehand.

It says on which port it listens and ends with its standard input. Streams are sent a line at a time, one after the
other, as model servers do, but without a pause. It shares the cores with what is measured, so it does next to nothing.
"""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import sys

from .proxy_messages import REPLIES, STREAMS, Stream, whole

__all__ = ["main"]

_LINES = re.compile(rb'"(?:num_predict|max_tokens)": ?(\d+)')
_STREAM = re.compile(rb'"stream": ?(true|false)')
_DEFAULT_LINES = 100
_MOST_LINES = 1_000_000
_TURN = 64
"""Lines that are sent between two looks at the sockets, all streams together, or one for each stream."""
_BUFFER = 256 * 1024
"""What the kernel holds for a connection; by itself it would take megabytes for each."""
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\r\n"
_NOT_FOUND += b'{"error":"no such thing"}'


class _Pump:
    """Sends the lines of all streams in turn."""

    def __init__(self) -> None:
        self._streams: dict[_Connection, None] = {}
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None

    def add(self, stream: _Connection) -> None:
        self._streams[stream] = None
        self._next = self._next or self._loop.call_soon(self._run)

    def remove(self, stream: _Connection) -> None:
        self._streams.pop(stream, None)

    def _run(self) -> None:
        share = max(1, _TURN // max(1, len(self._streams)))
        for stream in list(self._streams):
            stream.send(share)
        self._next = self._loop.call_soon(self._run) if self._streams else None


class _Connection(asyncio.Protocol):
    def __init__(self, pump: _Pump) -> None:
        self._pump = pump
        self._buffer = bytearray()
        self._stream: Stream | None = None
        self._left = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        while self._stream is None and (length := whole(self._buffer)):
            message = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._answer(message)

    def _answer(self, message: bytes) -> None:
        path = message.split(b" ", 2)[1].partition(b"?")[0]
        asked = _STREAM.search(message)
        stream = STREAMS.get(path)
        if stream is not None and (asked[1] == b"true" if asked else path.startswith(b"/api/")):
            lines = _LINES.search(message)
            self._stream, self._left = stream, min(int(lines[1]), _MOST_LINES) if lines else _DEFAULT_LINES
            self._transport.write(stream.head)
            if not self._paused:
                self._pump.add(self)
        else:
            self._transport.write(REPLIES.get(path, _NOT_FOUND))

    def send(self, share: int) -> None:
        """Sends so many lines, or as many as are left or find room."""
        assert self._stream is not None
        while share and self._left > 1 and not self._paused:
            self._transport.write(self._stream.line)
            if self._transport.is_closing():  # found out by writing; `connection_lost` comes later
                self._pump.remove(self)
                return
            share -= 1
            self._left -= 1
        if share and not self._paused:
            self._pump.remove(self)
            self._transport.write(self._stream.last)
            self._stream = None
            self._next()

    def pause_writing(self) -> None:
        self._paused = True
        self._pump.remove(self)

    def resume_writing(self) -> None:
        self._paused = False
        if self._stream is not None:
            self._pump.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pump.remove(self)
        self._stream = None


class _Until(asyncio.Protocol):
    """Tells when the other end of a pipe is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


async def _serve() -> None:
    loop, pump = asyncio.get_running_loop(), _Pump()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    server = await loop.create_server(lambda: _Connection(pump), sock=listener, backlog=2048)
    _, until = await loop.connect_read_pipe(_Until, sys.stdin)
    print(listener.getsockname()[1], flush=True)
    await until.closed.wait()
    server.close()


def main() -> None:
    gc.disable()  # nothing here is ever in a cycle that grows
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
