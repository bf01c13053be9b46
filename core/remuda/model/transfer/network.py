"""Connections to registries: to addresses that the policy admits, or through the proxy of the environment.

A host is resolved once and connected to by address, so that nobody can answer the check with one address and the
connection with another. TLS and `Host` go by the name all the same. Behind a proxy it is the proxy that resolves and
connects, which is what it was set up for.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import anyio
import certifi
import httpcore

from .errors import RegistryError, Unreachable
from .policy import Guard, is_loopback
from .url import Url

__all__ = ["Network"]

_CONNECT_SECONDS: Final = 10.0
"""For one address; a host's addresses are tried one after the other."""
_MOST_ADDRESSES: Final = 6
_MOST_CONNECTIONS: Final = 64
_IDLE_SECONDS: Final = 5.0


class Network:
    """Connections to one registry and to where it redirects. An async context manager: leaving closes them."""

    def __init__(self, guard: Guard, context: ssl.SSLContext | None = None) -> None:
        """`context`: of other connections, which spares reading all certificates anew."""
        self.context = context
        """None while no connection needed one."""
        self._guard = guard
        self._proxies = getproxies_environment()
        self._pools: dict[tuple[str, bool], httpcore.AsyncConnectionPool] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._stack.aclose()

    async def pool(self, url: Url) -> httpcore.AsyncConnectionPool:
        """Whose connections lead to that URL. Raises `Forbidden` and `RegistryError`."""
        proxy = self._proxy(url)
        if proxy:
            self._guard.check_literal(url)
        tls = url.scheme == "https" or proxy.startswith("https:")
        if tls and self.context is None:
            self.context = await anyio.to_thread.run_sync(_trusting)
        key = proxy, tls
        if key not in self._pools:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=self.context,
                proxy=_configured(proxy, self.context) if proxy else None,
                max_connections=_MOST_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=None if proxy else _Admitted(self._guard),
            )
            self._pools[key] = await self._stack.enter_async_context(pool)
        return self._pools[key]

    def _proxy(self, url: Url) -> str:
        """Empty for none. A host that calls itself this machine is never asked of another one."""
        if not self._proxies or is_loopback(url.host):
            return ""
        if proxy_bypass(url.netloc, self._proxies):
            return ""
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all", "")
        return proxy if not proxy or "://" in proxy else f"http://{proxy}"


class _Admitted(httpcore.AsyncNetworkBackend):
    """Connects to those addresses of a host that the guard admits."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(_CONNECT_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise Unreachable(f"the name {host} could not be resolved in time", transient=True) from None
        except (OSError, UnicodeError) as error:
            later = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            said = "no name server answers" if later else "no such host is known"
            raise Unreachable(f"the name {host} could not be resolved: {said}", transient=later) from None
        resolved = dict.fromkeys(ip_address(str(each[4][0])) for each in found)
        admitted = self._guard.admit(host, port, resolved)[:_MOST_ADDRESSES]
        for last, address in enumerate(admitted, 1 - len(admitted)):
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not last:
                    raise
        raise Unreachable(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def _trusting() -> ssl.SSLContext:
    """The system's certificates, `SSL_CERT_FILE` and `SSL_CERT_DIR` included; Mozilla's where the system has none."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not os.environ.keys() & {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
        context.load_verify_locations(certifi.where())
    return context


def _configured(proxy: str, context: ssl.SSLContext | None) -> httpcore.Proxy:
    try:
        parts = urlsplit(proxy)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = parts = None
    if parts is None or not host or parts.scheme not in {"http", "https"}:
        raise RegistryError("the proxy that the environment names must be an http:// or https:// address")
    url = httpcore.URL(scheme=parts.scheme, host=host, port=port or Url.default_port(parts.scheme), target="/")
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return httpcore.Proxy(url, auth=auth, ssl_context=context if parts.scheme == "https" else None)
