"""A small synchronous client of the server's API: what the commands need, and no more.

It speaks to any server of the protocol, so it asks of a reply only what it uses.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click
import msgspec
from msgspec import Struct, field

from ..config import is_loopback, near_host, parse_host, url_of
from ..wire import ChatRequest, GenerateRequest, encode

if TYPE_CHECKING:  # httpx takes as long to import as everything else here together: only when a request is made
    import httpx

__all__ = ["Client", "Listed", "Piece", "Running", "Said", "ServerError", "Target", "Unreachable", "target_from"]

T = TypeVar("T")

_CONNECT_SECONDS = 5.0


class Target(Struct, frozen=True):
    """The server to speak to."""

    url: str
    """Without a slash at the end."""
    loopback: bool
    """It can only be on this machine."""


class Listed(Struct):
    """A model of `/api/tags`."""

    name: str
    digest: str = ""
    size: int = 0
    modified_at: str = "0001-01-01T00:00:00Z"
    remote_host: str = ""


class Running(Struct):
    """A model of `/api/ps`."""

    name: str
    digest: str = ""
    size: int = 0
    size_vram: int = 0
    context_length: int = 0
    expires_at: str = "0001-01-01T00:00:00Z"


class Said(Struct):
    """The message in a line of `/api/chat`. Some servers write null for an empty text."""

    content: str | None = None
    thinking: str | None = None


class Piece(Struct):
    """A line of `/api/generate` or of `/api/chat`. Durations in nanoseconds."""

    response: str | None = None
    thinking: str | None = None
    message: Said | None = None
    done: bool = False
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    error: str | None = None

    @property
    def text(self) -> str:
        """What the model says, without what it thinks."""
        return (self.message.content if self.message else self.response) or ""

    @property
    def thought(self) -> str:
        return (self.message.thinking if self.message else self.thinking) or ""


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

    def __init__(self, target: Target) -> None:
        import httpx

        # Proxies of the environment are for other machines: NO_PROXY seldom names this one.
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        self._http = httpx.Client(timeout=timeout, trust_env=not target.loopback)
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

    def models(self) -> list[Listed]:
        return self._get("/api/tags", _Models[Listed]).models

    def running(self) -> list[Running]:
        return self._get("/api/ps", _Models[Running]).models

    def generate(self, request: GenerateRequest) -> Generator[Piece, None, None]:
        """The lines of the answer as they come. Closing it closes the connection, and so ends the work behind it."""
        return self._answer("/api/generate", encode(request))

    def chat(self, request: ChatRequest) -> Generator[Piece, None, None]:
        """As `generate`, for a conversation."""
        return self._answer("/api/chat", encode(request))

    def _answer(self, path: str, body: bytes) -> Generator[Piece, None, None]:
        with self._sent("POST", path, body) as response:
            for line in _lines(response.iter_bytes()):
                piece = _decode(line, Piece)
                if piece.error:
                    raise ServerError(piece.error, 200)
                yield piece

    def _get(self, path: str, type: type[T]) -> T:
        with self._sent("GET", path) as response:
            return _decode(response.read(), type)

    @contextmanager
    def _sent(self, method: str, path: str, body: bytes | None = None) -> Generator[httpx.Response, None, None]:
        import httpx

        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            with self._http.stream(method, self._url + path, content=body, headers=headers) as response:
                if response.status_code >= 400:
                    raise ServerError(_refusal(response.read(), response.status_code), response.status_code)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise Unreachable(self._url) from None
        except httpx.TransportError as error:
            raise ServerError(f"the connection to {self._url} broke: {error or type(error).__name__}", 200) from None


class _Models(Struct, Generic[T]):
    models: list[T] = field(default_factory=list[Any])


def target_from(environ: Mapping[str, str] | None = None) -> Target:
    """The server that `OLLAMA_HOST` names; without it the one at the default address of this machine."""
    text = (os.environ if environ is None else environ).get("OLLAMA_HOST", "")
    scheme, host, port, path = parse_host(text)
    return Target(url_of(host, port, scheme) + path.rstrip("/"), is_loopback(near_host(host)))


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """NDJSON lines. httpx's own `iter_lines` also splits at U+2028 and its like, which JSON strings may hold."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


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
