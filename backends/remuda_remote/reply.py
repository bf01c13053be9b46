"""The reply of an upstream as it comes: whole, in pieces, or in lines.

This is where every byte of a stream passes, so there is one timer for each reply, not for each read: it looks once in a
`stall_timeout` whether somebody has waited for that long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

from .faults import Broke, TooSlow
from .trouble import broken

__all__ = ["Reply"]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Reply:
    """The head of a reply, and its body as it comes. Must be closed. One of `read`, `pieces` and `lines`, once."""

    def __init__(
        self,
        upstream: str,
        response: aiohttp.ClientResponse,
        *,
        stall: float,
        max_line: int,
        secrets: tuple[bytes, ...] = (),
        idle: asyncio.Event | None = None,
    ) -> None:
        """`secrets` were sent with the request; `idle` is set while the request's body is not being iterated."""
        self.upstream = upstream
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        """By their names in small letters."""
        self._response = response
        self._content = response.content
        self._first = b""
        self._max_line, self._secrets, self._idle = max_line, secrets, idle
        self._patience = _Patience(upstream, response.content, stall)

    async def begin(self) -> None:
        """Waits for the first bytes of the body, if it is to be used. For `UpstreamClient.send`, which bounds it."""
        if self.status in _REDIRECTS:
            raise Broke(self.upstream, "redirects, which is not followed; correct its url")
        if self.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise Broke(self.upstream, "compressed its answer, although it was asked not to")
        if 200 <= self.status < 300 and not self._content.at_eof():
            self._first = await self._more()

    async def read(self, limit: int) -> bytes:
        """The whole body; of an error without the keys that the request held, should it repeat them. Raises `Broke` for
        more than `limit` bytes, `TooSlow`."""
        body = await self._whole(limit)
        if self.status >= 400:
            for secret in self._secrets:
                body = body.replace(secret, b"***")
        return body

    async def _whole(self, limit: int) -> bytes:
        first, self._first = self._first, b""
        if self._content.at_eof() and len(first) <= limit:
            return first
        found, size = [first], len(first)
        try:
            self._patience.begin()  # once: what trickles must end, too
            while size <= limit:
                data = await self._more()
                if not data:
                    return b"".join(found)
                found.append(data)
                size += len(data)
        finally:
            self._patience.end()
        raise Broke(self.upstream, f"answered with more than {limit} bytes")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, with back-pressure. Raises `Broke` and `TooSlow`."""
        try:
            self._patience.begin()
            while data := await self._more():
                self._patience.end()
                yield data
                self._patience.begin()
        finally:
            self._patience.end()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Whole lines, one or more at a time just as they came, each with its newline (the last one gets one if it
        lacks it). Raises `Broke` for a line over `remote.max_line`, for a cut, and `TooSlow` where no whole line comes
        for `stall_timeout` (trickling bytes do not help). Time in which nobody asks for lines does not count."""
        held: list[bytes] = []  # of a line that has begun
        size = 0
        try:
            self._patience.begin()
            while data := await self._more():
                if size + len(data) > self._max_line:
                    self._bounded(size, data)
                end = data.rfind(b"\n") + 1
                if not end:
                    held.append(data)
                    size += len(data)
                    continue
                self._patience.end()
                block = data if end == len(data) else data[:end]
                if held:
                    block = b"".join((*held, block))
                held, size = ([data[end:]], len(data) - end) if end < len(data) else ([], 0)
                yield block
                self._patience.begin()
            if held:
                self._patience.end()
                yield b"".join((*held, b"\n"))
        finally:
            self._patience.end()

    def _bounded(self, size: int, data: bytes) -> None:
        """`size` bytes of the first line came before."""
        first, *others = data.split(b"\n")
        if size + len(first) > self._max_line or any(len(line) > self._max_line for line in others):
            raise Broke(self.upstream, f"sent a line of more than {self._max_line} bytes (remote.max_line)")

    async def _more(self) -> bytes:
        """Empty at the end."""
        if self._first:
            data, self._first = self._first, b""
            return data
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, RuntimeError):  # RuntimeError: it was closed meanwhile
            raise broken(self.upstream) from None

    async def aclose(self) -> None:
        """Closes the connection at once unless the body was read to its end; then it is kept for the next request."""
        self.abort()
        if self._idle is not None:
            await self._idle.wait()

    def abort(self) -> None:
        """As `aclose`, which need not wait for anything."""
        self._patience.cancel()
        connection = self._response.connection
        if connection is None:
            return  # all has come, and by now somebody else may be using it
        if connection.transport is not None:
            connection.transport.abort()
        self._response.close()


class _Patience:
    """Bounds how long a reader waits, with a timer that goes off once in that time whatever happens meanwhile."""

    __slots__ = ("_content", "_deadline", "_loop", "_seconds", "_timer", "_upstream", "_waiting")

    def __init__(self, upstream: str, content: aiohttp.StreamReader, seconds: float) -> None:
        self._upstream, self._content, self._seconds = upstream, content, seconds
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._deadline = self._loop.time() + self._seconds
        self._waiting = True
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def end(self) -> None:
        self._waiting = False

    def cancel(self) -> None:
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._look)
        else:
            text = f"sent nothing whole for {self._seconds:g} s in the middle of its answer"
            self._content.set_exception(TooSlow(self._upstream, text))
