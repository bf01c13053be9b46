"""HTTP to one upstream: how a request is sent, and what becomes of it when it cannot be.

aiohttp does the HTTP and is known only here and in the modules that serve this one (`reach`, `reply`, `trouble`). A
request whose connection was kept from an earlier one and turns out to be closed, before anything of a reply came, is
sent once more on a connection of its own: servers close idle connections when they please, and that is no failure.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

import aiohttp
import anyio.to_thread
import msgspec
from multidict import CIMultiDict
from yarl import URL

from remuda.remote import HOPS_HEADER, hops

from .faults import Refused, TooSlow, Unreachable
from .member import Member
from .reach import USED, Sessions, Used, settings
from .reply import Reply
from .trouble import said_in, unanswered

__all__ = ["Reply", "UpstreamClient", "said_in"]

_LARGE: Final = 1024 * 1024
"""Bytes above which a body is written piece by piece, letting others run meanwhile."""
_SECRET: Final = 8
"""Characters from which on the value of a configured header may be a key."""
_USUAL: Final = CIMultiDict({"User-Agent": f"remuda/{version('remuda')}", "Accept-Encoding": "identity"})
_STALE: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)


class UpstreamClient:
    """Connections to one upstream. Must be closed, in the loop in which it was used."""

    def __init__(self, member: Member, *, max_line: int) -> None:
        self._member, self._max_line = member, max_line
        self._base = str(URL(member.url)).rstrip("/")
        values = (value.removeprefix("Bearer ") for value in member.headers.values())
        self._secrets = tuple(value.encode() for value in values if len(value) >= _SECRET)
        self._sessions: Sessions | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterable[bytes] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        request_id: str = "",
        first_byte: float | None = None,
        stall: float | None = None,
    ) -> Reply:
        """The reply, whatever its status, once its head is here and, for 2xx with a body, its first bytes.

        `path` begins with a slash, goes behind `member.url` and is sent as it is. `first_byte` and `stall` in seconds
        replace the configured timeouts. The member's own headers count before `headers`, and those before the usual
        ones. Redirects are never followed (`Broke`). Raises `Unreachable`, `Broke`, `TooSlow`. Cancelling closes the
        connection.

        A body that is iterated goes chunked unless `headers` give its `Content-Length`. `first_byte` then bounds how
        long the upstream takes over one piece, and over the reply after the last. What the body raises comes out of
        here, and it is left alone once this has raised or the reply is closed.
        """
        seconds = self._member.config.first_byte_timeout if first_byte is None else first_byte
        feed = None if isinstance(body, bytes) else _Feed(body)
        used, reply = Used(), None
        token = USED.set(used)
        try:
            async with asyncio.timeout(seconds) as clock:
                if feed is not None:
                    feed.clock, feed.seconds = clock, seconds
                sessions = self._sessions or await self._open()
                response = await self._sent(
                    sessions,
                    used,
                    method,
                    path,
                    body if feed is None else feed,
                    self._headers(body, headers, request_id),
                )
                reply = self._reply(response, feed, stall)
                await reply.begin()
            return reply
        except BaseException as error:
            if reply is not None:
                reply.abort()
            else:
                used.abort()
            if feed is not None:
                await feed.idle.wait()
                if feed.error is not None:
                    raise feed.error from None
            raise self._told(error, seconds) from None
        finally:
            USED.reset(token)
            if feed is not None:
                feed.clock = None

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        limit: int = 8 * 1024 * 1024,
        timeout: float = 5.0,
        request_id: str = "",
    ) -> bytes:
        """The whole body of a 2xx reply to a small request whose body is `body` as JSON (None: none). Raises `Refused`
        for other statuses, else as `send`; `timeout` seconds bound it all."""
        content = b"" if body is None else msgspec.json.encode(body)
        name = self._member.name
        try:
            async with asyncio.timeout(timeout):
                reply = await self.send(method, path, content, request_id=request_id, first_byte=timeout)
                try:
                    found = await reply.read(limit)
                finally:
                    await reply.aclose()
        except TimeoutError:
            raise TooSlow(name, f"did not answer within {timeout:g} s") from None
        if not 200 <= reply.status < 300:
            raise Refused(name, reply.status, reply.headers, found, said_in(found))
        return found

    async def close(self) -> None:
        """Closes every connection, also under requests that still run, and returns when their sockets are closed."""
        self._closed = True
        async with self._opening:
            sessions, self._sessions = self._sessions, None
        if sessions is not None:
            await sessions.close()

    async def _open(self) -> Sessions:
        async with self._opening:
            if self._closed:
                raise Unreachable(self._member.name, "is no longer in use here")
            if self._sessions is None:
                self._sessions = Sessions(self._member, *await anyio.to_thread.run_sync(settings, self._member))
            return self._sessions

    def _headers(
        self, body: bytes | AsyncIterable[bytes], headers: Mapping[str, str] | None, request_id: str
    ) -> CIMultiDict[str]:
        sent = _USUAL.copy()
        if body:
            sent["Content-Type"] = "application/json" if isinstance(body, bytes) else "application/octet-stream"
        if request_id:
            sent["X-Request-Id"] = request_id
        sent[HOPS_HEADER] = str(hops.get() + 1)
        if headers:
            sent.update(headers)
        sent.update(self._member.headers)
        return sent

    async def _sent(
        self,
        sessions: Sessions,
        used: Used,
        method: str,
        path: str,
        body: bytes | AsyncIterable[bytes],
        headers: CIMultiDict[str],
    ) -> aiohttp.ClientResponse:
        url = _url(self._base + path)
        skip = None if body else ("Content-Type",)  # or aiohttp would say octet-stream of nothing

        async def once(session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
            data = io.BytesIO(body) if isinstance(body, bytes) and len(body) > _LARGE else body or None
            return await session.request(
                method, url, data=data, headers=headers, skip_auto_headers=skip, allow_redirects=False
            )

        if not isinstance(body, bytes):
            return await once(sessions.fresh)  # it cannot be sent twice
        try:
            return await once(sessions.usual)
        except _STALE as error:
            begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
            if not used.kept or begun or isinstance(error, aiohttp.ClientConnectorError):
                raise
        used.abort()
        return await once(sessions.fresh)

    def _reply(self, response: aiohttp.ClientResponse, feed: _Feed | None, stall: float | None) -> Reply:
        return Reply(
            self._member.name,
            response,
            stall=self._member.config.stall_timeout if stall is None else stall,
            max_line=self._max_line,
            secrets=self._secrets,
            idle=None if feed is None else feed.idle,
        )

    def _told(self, error: BaseException, seconds: float) -> BaseException:
        if not isinstance(error, (aiohttp.ClientError, OSError, RuntimeError)):
            return error
        if self._closed:
            return Unreachable(self._member.name, "is no longer in use here")
        if isinstance(error, RuntimeError):
            return error
        connecting = self._member.config.connect_timeout
        return unanswered(self._member.name, error, connecting=connecting, answering=seconds)


@lru_cache(256)
def _url(text: str) -> URL:
    return URL(text, encoded=True)


class _Feed:
    """A body that is iterated, by a task of aiohttp's, of which it is known what it raised and whether it runs."""

    def __init__(self, body: AsyncIterable[bytes]) -> None:
        self._pieces = aiter(body)
        self.error: Exception | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self.clock: asyncio.Timeout | None = None
        """Of the request, and started anew with `seconds` for each piece; it stands still while one is fetched."""
        self.seconds = 0.0

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> bytes:
        self.idle.clear()
        self._bound(None)
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise
        finally:
            self.idle.set()
            self._bound(asyncio.get_running_loop().time() + self.seconds)

    def _bound(self, when: float | None) -> None:
        if self.clock is not None and not self.clock.expired():
            self.clock.reschedule(when)
