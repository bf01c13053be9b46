"""The only HTTP client of this server that goes out: to registries and to where they redirect.

    async with RegistryClient(name, policy, insecure=False) as client:
        reply = await client.request("GET", f"{client.base}/manifests/latest", limit=MAX_MANIFEST)

Nothing that a registry says is taken at its word: replies that are read whole have a cap, compressed ones are refused
(a few bytes would become many), redirects are judged one by one, and `Authorization` goes to the registry alone.
"""

from __future__ import annotations

import platform
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Final, Self

import anyio
import httpcore
from msgspec import Struct

from ..name import ModelName
from .auth import MAX_TOKEN, Login
from .errors import RegistryError, Unreachable
from .faults import FAULTS, refusal, translated
from .network import Network
from .policy import Guard, TransferPolicy
from .retry import Attempts
from .url import Url

__all__ = ["Content", "RegistryClient", "Reply", "Streamed"]

Content = bytes | Callable[[], AsyncIterator[bytes]]
"""A request's body. A callable gives it anew for every time that it must be sent; say its `Content-Length`."""

_MAX_ERROR: Final = 8 * 1024
_MAX_HOPS: Final = 10
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_SAME_METHOD: Final = (307, 308)
_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_CONNECT_SECONDS: Final = 10.0
_WHOLE: Final = 4
"""So many times the stall timeout is the most that a reply may take which is read whole."""


class Reply(Struct, frozen=True):
    """A reply that was read whole. Header names are lower case; `url` is where it came from in the end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Streamed:
    """A reply whose body is yet to be read."""

    def __init__(self, response: httpcore.Response, url: Url, stall: float) -> None:
        self.status = response.status
        self.url = url
        self.headers: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self._response = response
        self._stall = stall

    @property
    def length(self) -> int | None:
        """`Content-Length`, if there is one."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body. Raises `RegistryError`, a transient one where the connection was cut or stalled."""
        try:
            async for piece in self._response.aiter_stream():
                yield piece
        except FAULTS as error:
            raise translated(error, self.url, self._stall) from None

    async def read(self, limit: int, *, cut: bool = False) -> bytes:
        """The body, of at most `limit` bytes. Raises `RegistryError` if it is longer, unless the rest may be `cut`."""
        if not cut and (self.length or 0) > limit:
            raise self._too_long(limit)
        data = bytearray()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > limit:
                    if cut:
                        break
                    raise self._too_long(limit)
        return bytes(data[:limit])

    def _too_long(self, limit: int) -> RegistryError:
        return RegistryError(f"{self.url.authority} sent a reply of more than {limit} bytes, the most that is read")


class RegistryClient:
    """Requests to one registry. An async context manager: leaving closes its connections."""

    def __init__(
        self, name: ModelName, policy: TransferPolicy, *, insecure: bool, sibling: RegistryClient | None = None
    ) -> None:
        """`sibling`: another client of the same registry, with which it shares its login.

        Raises `BadRequest` and `Forbidden` for the name's host.
        """
        self._policy, self._name, self._insecure = policy, name, insecure
        self._guard = Guard(policy, name, insecure=insecure)
        self._network = Network(self._guard, sibling._network.context if sibling else None)
        self.login = sibling.login if sibling else Login(self._guard, policy)
        self.base = str(self._guard.registry)
        self.origin = self._guard.registry.origin
        system = f"{platform.machine()} {platform.system().lower()}"
        self._agent = f"remuda/{policy.version} ({system}) Python/{platform.python_version()}"

    def again(self) -> RegistryClient:
        """Another client of the same registry, with connections of its own and the same login."""
        return RegistryClient(self._name, self._policy, insecure=self._insecure, sibling=self)

    async def __aenter__(self) -> Self:
        await self._network.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._network.__aexit__(kind, error, traceback)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        limit: int = _MAX_ERROR,
        expect: Collection[int] = (200,),
        timeout: float | None = None,
        retry: bool | None = None,
    ) -> Reply:
        """Read a reply whole.

        `url` may be a path from the registry's root. A status of 400 or more that is not in `expect` raises
        `NotInRegistry`, `Unauthorized` or another `RegistryError`; so does a redirect that must not be followed. A
        redirect in `expect` is returned as it is. `timeout` is the longest silence in seconds, if not the policy's.
        `retry` tries again after transient failures other than of connecting; by default where that repeats nothing:
        GET and HEAD.
        """
        attempts = Attempts(self._policy.retries if (method in {"GET", "HEAD"} if retry is None else retry) else 0)
        while True:
            try:
                return await self._request(method, url, headers or {}, content, limit, expect, timeout)
            except Unreachable:
                raise
            except RegistryError as error:
                await attempts.failed(error)

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Content | None,
        limit: int,
        expect: Collection[int],
        timeout: float | None,
    ) -> Reply:
        silence = timeout or self._policy.stall_timeout
        async with self.stream(method, url, headers=headers, content=content, expect=expect, timeout=timeout) as reply:
            with _in_time(reply.url, _WHOLE * silence):
                body = await reply.read(limit)
            return Reply(reply.status, reply.headers, body, str(reply.url))

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        expect: Collection[int] = (200,),
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Streamed]:
        """As `request`, but the body is left to be read, and nothing is tried again."""
        target = self._guard.registry.join(url)
        silence = timeout or self._policy.stall_timeout
        return self._followed(method, target, headers or {}, content, expect, silence)

    @asynccontextmanager
    async def _followed(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        content: Content | None,
        expect: Collection[int],
        silence: float,
    ) -> AsyncGenerator[Streamed, None]:
        """One reply, after redirects and a challenge."""
        if url.origin != self.origin:
            self._guard.check_redirect(self._guard.registry, url)
        seen = {str(url)}
        challenged = False
        while True:
            sent = self.login.header if url.origin == self.origin else ""
            async with self._exchange(method, url, {**headers, "Authorization": sent}, content, silence) as reply:
                if reply.status in expect:
                    yield reply
                    return
                asked = reply.status == 401 and url.origin == self.origin and not challenged
                with _in_time(url, _WHOLE * silence):
                    if asked:
                        # The connection can be used again once it is read.
                        await reply.read(_MAX_ERROR, cut=True)
                    elif not _followable(reply.status, method):
                        raise await refusal(reply, _MAX_ERROR)
                if asked:
                    challenged = True
                    await self.login.answer(sent, reply.headers.get("www-authenticate", ""), self._fetch_token)
                else:
                    url = self._redirected(reply, seen)

    def _redirected(self, reply: Streamed, seen: set[str]) -> Url:
        location = reply.headers.get("location", "")
        if not location:
            raise RegistryError(f"{reply.url.authority} redirects, but does not say where to")
        target = reply.url.join(location)
        self._guard.check_redirect(reply.url, target)
        if str(target) in seen or len(seen) > _MAX_HOPS:
            raise RegistryError(f"{reply.url.authority} redirects for ever")
        seen.add(str(target))
        return target

    async def _fetch_token(self, url: Url, authorization: str) -> bytes:
        """Neither redirected nor challenged: the answer, or an error."""
        silence = self._policy.stall_timeout
        async with self._exchange("GET", url, {"Authorization": authorization}, None, silence) as reply:
            with _in_time(url, _WHOLE * silence):
                if reply.status != 200:
                    raise await refusal(reply, _MAX_ERROR)
                return await reply.read(MAX_TOKEN)

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: Url, headers: Mapping[str, str], content: Content | None, silence: float
    ) -> AsyncGenerator[Streamed, None]:
        """One request and its reply, whatever it is."""
        own = {"Host": url.authority, "User-Agent": self._agent, "Accept-Encoding": "identity"}
        fields = [(name, value) for name, value in {**own, **headers}.items() if value]
        limits = {"connect": min(silence, _CONNECT_SECONDS), "read": silence, "write": silence}
        async with AsyncExitStack() as stack:
            body = content() if callable(content) else (content or b"" if method in _WITH_BODY else None)
            stack.push_async_callback(_close, body)
            pool = await self._network.pool(url)
            exchange = pool.stream(
                method,
                httpcore.URL(scheme=url.scheme, host=url.host, port=url.explicit_port, target=url.target),
                headers=fields,
                content=body,
                extensions={"timeout": limits},
            )
            try:
                # A body that is streamed takes as long as it takes; the head of a reply must not drip.
                with _in_time(url, None if callable(content) else _WHOLE * silence):
                    response = await stack.enter_async_context(exchange)
            except FAULTS as error:
                raise translated(error, url, silence) from None
            reply = Streamed(response, url, silence)
            if reply.headers.get("content-encoding", "identity").lower() != "identity":
                raise RegistryError(f"{url.authority} sent a compressed reply, which was not asked for")
            yield reply


async def _close(content: object) -> None:
    """A generator of which the connection did not want all."""
    if isinstance(content, AsyncGenerator):
        await content.aclose()


def _followable(status: int, method: str) -> bool:
    return status in (_REDIRECTS if method in {"GET", "HEAD"} else _SAME_METHOD)


@contextmanager
def _in_time(url: Url, seconds: float | None) -> Generator[None, None, None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise RegistryError(f"{url.authority} did not answer in time", transient=True) from None
