"""Clients of a server before others that leave or stop reading, and its own end: the upstream sees it at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from faults import Raw, await_true
from fronting import Looking, asking, ended, fronted, states
from upstream import Fault, Upstream

from remuda.config import ServerConfig
from remuda.testing import LiveServer

GENERATE = "POST /api/generate"
LONG = ["tick "] * 100_000
PIECE = "tick " * 2000
MEGABYTE = 1024 * 1024


class Words(list[str]):
    """They know how many of them were said."""

    said = 0

    def __iter__(self) -> Iterator[str]:
        for word in super().__iter__():
            self.said += 1
            yield word


@pytest.fixture(scope="module", params=["unread", "as a job"])
def front(request: pytest.FixtureRequest) -> Iterator[tuple[Upstream, LiveServer, httpx.Client]]:
    plugins = [("looking", Looking())] if request.param == "as a job" else []
    server = ServerConfig(write_timeout=1.0, drain_timeout=0.2)
    with Upstream() as upstream, asking(fronted({"attic": upstream.url}, server=server), *plugins) as (live, http):
        yield upstream, live, http


@pytest.mark.parametrize("half", [False, True], ids=["both ways", "one way"])
def test_who_leaves_in_mid_stream_closes_the_upstream_at_once(
    front: tuple[Upstream, LiveServer, httpx.Client], *, half: bool
) -> None:
    upstream, live, http = front
    upstream.words, upstream.delay, gone = LONG, 0.01, upstream.gone_away
    with Raw(live.url) as leaver:
        leaver.post(model="tiny").until(b"tick")
        leaver.sock.shutdown(socket.SHUT_WR if half else socket.SHUT_RDWR)
        upstream.await_left(gone + 1, timeout=2)
    await_true(lambda: states(http)["attic"]["running"] == 0)
    upstream.words, upstream.delay = ["tick "], 0
    assert states(http)["attic"]["failures"] == 0
    assert http.post("/api/generate", json={"model": "tiny", "prompt": "hi", "stream": False}).status_code == 200


@pytest.mark.parametrize("fields", [{}, {"stream": False}], ids=["stream", "whole"])
def test_who_leaves_before_the_answer_begins_closes_the_upstream_at_once(
    front: tuple[Upstream, LiveServer, httpx.Client], fields: dict[str, Any]
) -> None:
    upstream, live, http = front
    upstream.fail(GENERATE, Fault(stall="head"))
    gone, asked = upstream.gone_away, upstream.count(GENERATE)
    with Raw(live.url) as leaver:
        leaver.post(model="tiny", **fields)
        upstream.await_request(GENERATE, asked + 1)
    upstream.await_left(gone + 1, timeout=1.5)  # less than what an answer may take to begin
    await_true(lambda: states(http)["attic"]["running"] == 0)
    assert states(http)["attic"]["failures"] == 0


def test_who_stops_reading_stops_the_upstream(front: tuple[Upstream, LiveServer, httpx.Client]) -> None:
    """Little of what nobody reads is held, the upstream can send no more, and at last the client is dropped."""
    upstream, live, http = front
    words = Words([PIECE] * 100_000)
    upstream.words, upstream.delay, gone = words, 0, upstream.gone_away
    assert live.socket is not None
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted sockets inherit it
    before = psutil.Process().memory_info().rss
    many = 4
    readers = [Raw(live.url, receive_buffer=4096).post(model="tiny") for _ in range(many)]
    try:
        upstream.await_left(gone + many)
    finally:
        for reader in readers:
            reader.sock.close()
    assert words.said * len(PIECE) < many * 8 * MEGABYTE  # the system's buffers on the way, above all
    assert psutil.Process().memory_info().rss - before < many * 4 * MEGABYTE
    upstream.words = ["tick "]
    await_true(lambda: states(http)["attic"]["running"] == 0)
    assert states(http)["attic"]["failures"] == 0


@pytest.mark.parametrize("job", [False, True], ids=["unread", "as a job"])
def test_its_end_cuts_streams_with_an_error_line(*, job: bool) -> None:
    plugins = [("looking", Looking())] if job else []
    with Upstream() as upstream, ThreadPoolExecutor(1) as pool:
        upstream.words, upstream.delay = LONG, 0.01
        with asking(fronted({"attic": upstream.url}), *plugins) as (live, http):
            reply = pool.submit(http.post, "/api/generate", json={"model": "tiny", "prompt": "hi"})
            upstream.await_request(GENERATE)
            await_true(lambda: states(http)["attic"]["running"] == 1)
            live.stop()
            lines = ended(reply.result(10))
            assert lines[-1] == {"error": "the server is shutting down; try again in a moment"}
            upstream.await_left()
