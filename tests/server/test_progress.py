"""Streams of progress over real sockets: lines, the object in their place, errors at any moment, clients that leave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from remuda.errors import BadRequest, RemudaError
from remuda.pipeline.stream import last, primed
from remuda.wire import ProgressResponse, TransferRequest

Lines = AsyncGenerator[ProgressResponse, None]
BODY = b'{"model":"m"}'


def line(status: str, completed: int = 0) -> ProgressResponse:
    return ProgressResponse(status=status, completed=completed)


def telling(rig: Any, make: Callable[[], Lines]) -> None:
    """What `/api/pull` tells, the way the library does it."""

    async def told(request: TransferRequest) -> Any:
        return await (last(make()) if request.stream is False else primed(make()))

    rig.standin.library.told = told


async def three() -> Lines:
    yield line("pulling manifest")
    yield line("pulling 0123456789ab", 5)
    yield line("success")


def test_lines(rig: Any) -> None:
    telling(rig, three)
    with rig.http.stream("POST", "/api/pull", content=BODY) as reply:
        lines = [json.loads(text) for text in reply.iter_lines()]
    assert lines == [
        {"status": "pulling manifest"},
        {"status": "pulling 0123456789ab", "completed": 5},
        {"status": "success"},
    ]
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson")
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.headers["x-accel-buffering"] == "no"


def test_one_object_in_their_place(rig: Any) -> None:
    telling(rig, three)
    reply = rig.http.post("/api/pull", json={"model": "m", "stream": False})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.content == b'{"status":"success"}'


def test_each_line_leaves_at_once(rig: Any) -> None:
    gate = threading.Event()

    async def lines() -> Lines:
        yield line("a")
        await asyncio.to_thread(gate.wait, 5)
        yield line("b")

    telling(rig, lines)
    with rig.raw() as client:
        assert b'{"status":"a"}\n' in client.post(BODY, "/api/pull").until(b"}\n")
        gate.set()
        assert b'{"status":"b"}\n' in client.until(b"0\r\n\r\n")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("error", "status"), [(BadRequest("no"), 400), (RemudaError("broken"), 500)])
def test_an_error_in_place_of_the_first_line_has_its_status(
    rig: Any, error: RemudaError, status: int, stream: bool
) -> None:
    async def lines() -> Lines:
        raise error
        yield line("never")

    telling(rig, lines)
    reply = rig.http.post("/api/pull", json={"model": "m", "stream": stream})
    assert (reply.status_code, reply.json()) == (status, {"error": error.message})


@pytest.mark.parametrize(
    ("error", "message"), [(BadRequest("no"), "no"), (ValueError("secret /etc/passwd"), "internal error")]
)
def test_a_later_error_is_the_last_line_or_the_status(rig: Any, error: Exception, message: str) -> None:
    async def lines() -> Lines:
        yield line("a")
        raise error

    telling(rig, lines)
    streamed = rig.http.post("/api/pull", content=BODY)
    assert streamed.status_code == 200
    first, second = [json.loads(text) for text in streamed.content.splitlines()]
    assert first == {"status": "a"}
    assert list(second) == ["error"]
    whole = rig.http.post("/api/pull", json={"model": "m", "stream": False})
    assert whole.status_code == getattr(error, "status", 500)
    for told in (second, whole.json()):
        assert told["error"].startswith(message)
        assert "secret" not in told["error"]


def test_a_stream_without_a_line_is_an_error(rig: Any) -> None:
    async def lines() -> Lines:
        for each in ():
            yield each

    telling(rig, lines)
    for stream in (True, False):
        reply = rig.http.post("/api/pull", json={"model": "m", "stream": stream})
        assert (reply.status_code, list(reply.json())) == (500, ["error"])


@pytest.mark.parametrize("lines_before", [0, 1])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_closes_the_stream(rig: Any, stream: bool, lines_before: int) -> None:
    began, ended = threading.Event(), threading.Event()

    async def lines() -> Lines:
        try:
            for _ in range(lines_before):
                yield line("a")
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    telling(rig, lines)
    with rig.raw() as client:
        client.post(json.dumps({"model": "m", "stream": stream}).encode(), "/api/pull")
        assert began.wait(5)
    assert ended.wait(5)
    rig.wait_idle()


def test_the_servers_end_is_an_error_line(make_rig: Any) -> None:
    rig = make_rig(drain_timeout=0.1)
    ended = threading.Event()

    async def lines() -> Lines:
        yield line("a")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    telling(rig, lines)
    with rig.raw() as client, ThreadPoolExecutor(1) as pool:
        client.post(BODY, "/api/pull").until(b"}\n")
        stopping = pool.submit(rig.server.stop)
        tail = client.rest()
        stopping.result()
    assert b'{"error":"the server is shutting down; try again in a moment"}\n' in tail
    assert tail.endswith(b"0\r\n\r\n")
    assert ended.is_set()
