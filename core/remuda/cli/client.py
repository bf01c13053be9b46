"""A small synchronous client of the server's API: what the commands need, and no more.

It speaks to any server of the protocol, so it asks of a reply only what it uses.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec
from msgspec import Struct, field

from ..config import is_loopback, near_host, parse_host, url_of
from ..model.digest import Digest
from ..wire import (
    UPSTREAM_HEADER,
    ChatRequest,
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    EmbedRequest,
    GenerateRequest,
    ShowRequest,
    TransferRequest,
    UpstreamsResponse,
    UpstreamState,
    encode,
)
from .replies import Embedded, InMemory, Listed, Piece, Progress, Shown

if TYPE_CHECKING:  # httpx takes as long to import as everything else here together: only when a request is made
    import httpx

__all__ = ["Client", "ServerError", "Target", "Unreachable", "reached", "target_from"]

T = TypeVar("T")
Line = TypeVar("Line", Piece, Progress)

_CONNECT_SECONDS = 5.0


class Target(Struct, frozen=True):
    """The server to speak to."""

    url: str
    """Without a slash at the end."""
    loopback: bool
    """It can only be on this machine."""


class ServerError(click.ClickException):
    """The server said no. `status` is 200 when it said so in the middle of a stream."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(click.ClickException):
    def __init__(self, url: str) -> None:
        super().__init__(f"could not connect to a remuda server at {url}, run 'remuda serve' to start it")


class Client:
    """Raises `Unreachable` or `ServerError`, both of which click shows as `Error: message`."""

    def __init__(self, target: Target, upstreams: str = "") -> None:
        """`upstreams`, separated by commas, are those that shall do what is asked; none leaves it to the server."""
        import httpx

        # Proxies of the environment are for other machines: NO_PROXY seldom names this one.
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        headers = {UPSTREAM_HEADER: upstreams} if upstreams else {}
        self._http = httpx.Client(timeout=timeout, trust_env=not target.loopback, headers=headers)
        self._url = target.url

    def close(self) -> None:
        self._http.close()

    def reachable(self) -> bool:
        """Whether a server answers at all."""
        try:
            with self._sent("HEAD", "/"):
                return True
        except Unreachable:
            return False

    def insist(self) -> None:
        """Raises `Unreachable` unless a server answers: for commands that have much to do before they ask it."""
        if not self.reachable():
            raise Unreachable(self._url)

    def models(self) -> list[Listed]:
        return self._get("/api/tags", _Tags).models

    def in_memory(self) -> InMemory:
        return self._get("/api/ps", InMemory)

    def upstreams(self) -> list[UpstreamState]:
        """Raises `ServerError` with status 404 for a server that knows nothing of upstreams."""
        return self._get("/api/upstreams", UpstreamsResponse).upstreams

    def generate(self, request: GenerateRequest) -> Generator[Piece, None, None]:
        """The lines of the answer as they come. Closing it closes the connection, and so ends the work behind it."""
        return self._stream("/api/generate", request, Piece)

    def chat(self, request: ChatRequest) -> Generator[Piece, None, None]:
        """As `generate`, for a conversation."""
        return self._stream("/api/chat", request, Piece)

    def embed(self, request: EmbedRequest) -> Embedded:
        return self._post("/api/embed", request, Embedded)

    def show(self, request: ShowRequest) -> Shown:
        return self._post("/api/show", request, Shown)

    def pull(self, request: TransferRequest) -> Generator[Progress, None, None]:
        """The lines of progress as they come; closing it ends the transfer."""
        return self._work("/api/pull", request)

    def push(self, request: TransferRequest) -> Generator[Progress, None, None]:
        """As `pull`."""
        return self._work("/api/push", request)

    def create(self, request: CreateRequest) -> Generator[Progress, None, None]:
        """As `pull`. The files that the request names must have been sent before."""
        return self._work("/api/create", request)

    def copy(self, source: str, destination: str) -> None:
        self._done("POST", "/api/copy", _body(CopyRequest(source=source, destination=destination)))

    def delete(self, model: str) -> None:
        self._done("DELETE", "/api/delete", _body(DeleteRequest(model=model)))

    def has_blob(self, digest: Digest) -> bool:
        """Whether the server has a file with these bytes."""
        try:
            self._done("HEAD", f"/api/blobs/{digest}")
        except ServerError as error:
            if error.status != 404:
                raise
            return False
        return True

    def send_blob(self, digest: Digest, chunks: Iterable[bytes], size: int) -> None:
        """Send a file of `size` bytes, piece by piece."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._done("POST", f"/api/blobs/{digest}", chunks, headers)

    def _stream(self, path: str, request: Struct, type: type[Line]) -> Generator[Line, None, None]:
        with self._sent("POST", path, _body(request)) as response:
            for line in _lines(response.iter_bytes()):
                decoded = _decode(line, type)
                if decoded.error:
                    raise ServerError(decoded.error, 200)
                yield decoded

    def _work(self, path: str, request: Struct) -> Generator[Progress, None, None]:
        last = Progress()
        with closing(self._stream(path, request, Progress)) as events:
            for last in events:
                yield last
        if last.status != "success":
            raise ServerError("the stream ended before the work did", 200)

    def _post(self, path: str, request: Struct, type: type[T]) -> T:
        with self._sent("POST", path, _body(request)) as response:
            return _decode(response.read(), type)

    def _get(self, path: str, type: type[T]) -> T:
        with self._sent("GET", path) as response:
            return _decode(response.read(), type)

    def _done(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        with self._sent(method, path, body, headers) as response:
            response.read()

    @contextmanager
    def _sent(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Generator[httpx.Response, None, None]:
        """The reply to a request, whose body is JSON unless `headers` say otherwise."""
        import httpx

        try:
            headers = headers or ({} if body is None else {"Content-Type": "application/json"})
            with self._http.stream(method, self._url + path, content=body, headers=headers) as response:
                if response.status_code >= 400:
                    raise ServerError(_refusal(response.read(), response.status_code), response.status_code)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise Unreachable(self._url) from None
        except httpx.TransportError as error:
            raise ServerError(f"the connection to {self._url} broke: {error or type(error).__name__}", 200) from None


class _Tags(Struct):
    models: list[Listed] = field(default_factory=list[Listed])


@contextmanager
def reached(upstreams: str = "") -> Generator[Client, None, None]:
    """A client of the server that `OLLAMA_HOST` names, closed at the end. `upstreams` as `Client` takes them."""
    with closing(Client(target_from(), upstreams)) as client:
        yield client


def target_from(environ: Mapping[str, str] | None = None) -> Target:
    """The server that `OLLAMA_HOST` names; without it the one at the default address of this machine."""
    text = (os.environ if environ is None else environ).get("OLLAMA_HOST", "")
    scheme, host, port, path = parse_host(text)
    return Target(url_of(host, port, scheme) + path.rstrip("/"), is_loopback(near_host(host)))


def _body(request: Struct) -> bytes:
    try:
        return encode(request)
    except UnicodeEncodeError:  # bytes that are not UTF-8 reach Python as lone surrogates
        raise click.ClickException("a name or a text that was given is not valid Unicode") from None


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """NDJSON lines. httpx's own `iter_lines` also splits at U+2028 and its like, which JSON strings may hold."""
    rest: list[bytes] = []
    for chunk in chunks:
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*rest, lines[0]))
            rest = []
        rest.append(last)
        yield from (line for line in lines if line.strip())
    if line := b"".join(rest).strip():
        yield line


def _decode(data: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.DecodeError as error:
        raise ServerError(f"the server sent something else than this command expects: {error}", 200) from None


def _refusal(body: bytes, status: int) -> str:
    try:
        message = msgspec.json.decode(body, type=Piece).error
    except msgspec.DecodeError:
        message = None
    return message or f"the server answered with status {status}"
