"""A live server over a stand-in for the pipeline, and raw sockets to be rude with."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
from registry import Registry

from remuda.config import Config, ServerConfig
from remuda.model.store import Store
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.testing.server import LiveServer
from remuda.wire import (
    GenerateRequest,
    GenerateResponse,
    ProgressResponse,
    PsResponse,
    TagsResponse,
    TransferRequest,
)

from .library_rig import LibraryRig, library_config

Answer = Callable[[GenerateRequest, str], Awaitable[Any]]


def line(text: str = "", *, done: bool = False) -> GenerateResponse:
    return GenerateResponse(
        model="m", created_at="2026-01-01T00:00:00Z", response=text, done=done, done_reason="stop" if done else None
    )


class LibraryStandIn:
    """What the server needs of `remuda.pipeline.library.Library` where progress is told. A test gives its `told`."""

    def __init__(self) -> None:
        self.told: Callable[[TransferRequest], Awaitable[Any]] = self.nothing

    async def nothing(self, _request: TransferRequest) -> Any:
        return ProgressResponse(status="success")

    async def pull(self, request: TransferRequest) -> Any:
        return await self.told(request)


class StandIn:
    """What the server needs of `remuda.pipeline.Pipeline`. A test gives its `answer` to `/api/generate`."""

    front = None

    def __init__(self, store: Store) -> None:
        self.answer: Answer = self.words
        self.requests: list[GenerateRequest] = []
        self.closed = 0
        self.store = store
        self.library = LibraryStandIn()

    def start(self) -> None:
        """There is nothing to begin with."""

    async def generate(self, request: GenerateRequest, *, request_id: str, **_: object) -> Any:
        self.requests.append(request)
        return await self.answer(request, request_id)

    async def words(self, request: GenerateRequest, _request_id: str) -> Any:
        if request.stream is False:
            return line("a b c", done=True)

        async def stream() -> AsyncGenerator[GenerateResponse, None]:
            for text in ("a", " b", " c"):
                yield line(text)
            yield line(done=True)

        return stream()

    async def tags(self) -> TagsResponse:
        return TagsResponse([])

    async def ps(self) -> PsResponse:
        return PsResponse([])

    async def close(self) -> None:
        self.closed += 1


class Client:
    """One raw connection."""

    def __init__(self, address: tuple[str, int], receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(10)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(address)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def post(self, body: bytes, path: str = "/api/generate", headers: str = "") -> Client:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        return self.send(head.encode() + body)

    def until(self, mark: bytes) -> bytes:
        """What came up to and with `mark`, or all when the server closed before."""
        data = b""
        while mark not in data and (piece := self.sock.recv(65536)):
            data += piece
        return data

    def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as a close."""
        data = b""
        try:
            while piece := self.sock.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data


class Rig:
    """The server under test and its stand-in."""

    def __init__(self, server: LiveServer, standin: StandIn) -> None:
        self.server = server
        self.standin = standin
        self.http = httpx.Client(base_url=server.url, timeout=10)

    line = staticmethod(line)

    def raw(self, receive_buffer: int = 0) -> Client:
        return Client(self.server.address, receive_buffer)

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send, read until the server closes, and give the status, or 0 for a connection closed without a reply."""
        with self.raw() as client:
            data = client.send(request).rest()
        return (int(data.split(b" ", 2)[1]) if data else 0), data

    def assert_alive(self) -> None:
        reply = self.http.post("/api/generate", json={"model": "m", "prompt": "x", "stream": False})
        assert (reply.status_code, reply.json()["response"]) == (200, "a b c")

    def running(self) -> int:
        return self.server.app.drain.running

    def wait_idle(self) -> None:
        """Until no request runs any more."""

        async def idle() -> bool:
            return await self.server.app.drain.idle(5)

        assert self.server.call(idle)


MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(no_blocking: None, tmp_path: Path) -> Iterator[MakeRig]:
    """`make_rig(plugins=..., idle_timeout=..., **fields of ServerConfig)`; blocking calls on its loop are errors."""
    rigs: list[Rig] = []

    def make(plugins: Plugins | None = None, idle_timeout: float = 30.0, **fields: Any) -> Rig:
        config = Config(server=msgspec.structs.replace(ServerConfig(drain_timeout=2.0), **fields))
        standin = StandIn(Store(tmp_path / "models"))
        server = LiveServer(config, plugins, pipeline=cast(Pipeline, standin), idle_timeout=idle_timeout)
        rig = Rig(server.start(), standin)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.http.close()
        rig.server.stop()


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()


@pytest.fixture
def make_library(plugins: Plugins, tmp_path: Path, no_blocking: None) -> Iterator[Callable[..., LibraryRig]]:
    """`make_library(**fields of Config)`: a server over a real pipeline."""
    rigs: list[LibraryRig] = []

    def make(**fields: Any) -> LibraryRig:
        rigs.append(LibraryRig(library_config(tmp_path, **fields), plugins))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.http.close()
        rig.server.stop()


@pytest.fixture
def library(make_library: Callable[..., LibraryRig]) -> LibraryRig:
    return make_library()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry
