"""How connections to an upstream are made and kept: TLS, the proxy on the way, which of them were used before."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import urllib.request
from contextvars import ContextVar
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from .faults import Unreachable
from .member import Member

__all__ = ["READ_AHEAD", "USED", "Sessions", "Used", "settings"]

READ_AHEAD: Final = 64 * 1024
"""Bytes of a reply that are read before anybody wants them; twice that, and one read of the socket (256 KiB at most),
is what a reply that nobody reads can hold here."""
_KEEP_ALIVE: Final = 30.0
"""Seconds for which an idle connection is kept."""
_CLOSING: Final = 2.0
"""Seconds that closing may take: it is a matter of a few turns of the loop."""
_HEAD_LINE: Final = 16 * 1024
_HEAD_LINES: Final = 128


class Used:
    """What a request has got hold of."""

    __slots__ = ("kept", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.kept = False
        """The connection had served another request before."""

    def abort(self) -> None:
        """Closes it now. A `close` would first wait until all that was written has been taken."""
        if self.transport is not None:
            self.transport.abort()


USED: Final[ContextVar[Used]] = ContextVar("USED")
"""Of the request that is being sent: aiohttp tells nobody else which connection a request was given."""


_READ: Final = 16 * 1024
"""Bytes that are read at once."""


class _Connector(aiohttp.TCPConnector):
    def __init__(self, *, context: ssl.SSLContext | None, keep: bool) -> None:
        """Places are the pool's matter, so there is no limit here."""
        timeout = _KEEP_ALIVE if keep else None
        tls = True if context is None else context
        super().__init__(  # pyright: ignore[reportUnknownMemberType] -- of a parameter that is not given here
            limit=0, ssl=tls, force_close=not keep, keepalive_timeout=timeout
        )
        self._known: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        used, protocol = USED.get(), connection.protocol
        used.transport, used.kept = connection.transport, protocol in self._known
        if protocol is not None and not used.kept:
            self._known.add(protocol)
            # asyncio reads 256 KiB at a time, which hundreds of busy streams would each hold.
            setattr(connection.transport, "max_size", _READ)  # noqa: B010 -- of asyncio's own transports, undocumented
        return connection

    async def end(self) -> None:
        """Closes every connection at once, those that are in use among them, and waits until that is done."""
        closed: list[asyncio.Future[None]] = []
        for protocol in list(self._known):
            if (transport := protocol.transport) is not None:
                transport.abort()
            if (future := protocol.closed) is not None:
                closed.append(future)
        await self.close()
        if closed:
            await asyncio.wait(closed, timeout=_CLOSING)


class Sessions:
    """The two ways to send to one upstream."""

    def __init__(self, member: Member, context: ssl.SSLContext | None, proxy: str) -> None:
        """In the running loop. `context` and `proxy` come from `settings`."""
        self.usual, self._usual = _session(member, context, proxy, keep=True)
        """Keeps connections."""
        self.fresh, self._fresh = _session(member, context, proxy, keep=False)
        """Makes a connection for each request."""

    async def close(self) -> None:
        for session, connector in ((self.usual, self._usual), (self.fresh, self._fresh)):
            await connector.end()
            await session.close()


def settings(member: Member) -> tuple[ssl.SSLContext | None, str]:
    """How TLS is spoken to it, if it is, and the proxy on the way or an empty string. Reads files: not for a loop.

    The proxy is what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say at this moment; an upstream on this machine is
    never reached through one. Raises `Unreachable`.
    """
    parts = urlsplit(member.url)
    return (_tls(member) if parts.scheme == "https" else None), _proxy(parts)


def _session(
    member: Member, context: ssl.SSLContext | None, proxy: str, *, keep: bool
) -> tuple[aiohttp.ClientSession, _Connector]:
    connector = _Connector(context=context, keep=keep)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        proxy=proxy or None,
        timeout=aiohttp.ClientTimeout(total=None, connect=member.config.connect_timeout),
        read_bufsize=READ_AHEAD,
        max_line_size=_HEAD_LINE,
        max_field_size=_HEAD_LINE,
        max_headers=_HEAD_LINES,
    )
    return session, connector


def _tls(member: Member) -> ssl.SSLContext:
    config = member.config
    try:
        file = Path(config.ca_file).expanduser() if config.ca_file else None
        context = ssl.create_default_context(cafile=file)
    except (OSError, ValueError):
        raise Unreachable(member.name, "cannot be reached: its ca_file cannot be read as certificates") from None
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.client_cert:
        try:
            context.load_cert_chain(Path(config.client_cert).expanduser(), password="")  # or it would ask the terminal
        except (OSError, ValueError):
            text = "cannot be reached: its client_cert cannot be read as a certificate and its key, without a password"
            raise Unreachable(member.name, text) from None
    context.set_alpn_protocols(("http/1.1",))
    return context


def _proxy(url: SplitResult) -> str:
    host = url.hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")
    if here or urllib.request.proxy_bypass(url.netloc):
        return ""
    found = urllib.request.getproxies()
    proxy = found.get(url.scheme) or found.get("all", "")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
