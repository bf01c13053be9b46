"""Scenario S46: upstreams that refuse, fail, stall, cut, flood and trickle, as clients of the server before them see
it.

Each fault meets a stream and a reply in one piece, handed on unread and, with a filter in the way, as a job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from fronting import QUICK, TALK, Looking, asking, behind, ended, fronted, refused
from msgspec import structs
from upstream import Fault, Upstream

MEGABYTE = 1024 * 1024
GENERATE, CHAT = "POST /api/generate", "POST /api/chat"
NEVER_DOWN = structs.replace(QUICK, failures=10_000, max_line=MEGABYTE)
AGAIN = "; try again, or see `remuda upstreams` for how it is"
SLOW = "; see first_byte_timeout and stall_timeout of its settings"
FIRE = b'{"error":"the GPU is on fire"}'


class Fronted:
    """A scripted upstream called `attic`, and a client of the server before it."""

    def __init__(self, upstream: Upstream, http: httpx.Client, *, unread: bool) -> None:
        self.upstream, self.http, self.unread = upstream, http, unread

    def ask(self, path: str = "/api/generate", *, stream: bool = True, model: str = "tiny") -> httpx.Response:
        fields = TALK if path == "/api/chat" else {"prompt": "Tell me a story"}
        reply = self.http.post(path, json={"model": model, **fields, "stream": stream})
        for secret in (str(self.upstream.port), "127.0.0.1", "198.51.100.7", "/work", "Traceback"):
            assert secret not in reply.text
        return reply

    def told(
        self, *faults: Fault, path: str = "/api/generate", stream: bool = True, model: str = "tiny"
    ) -> httpx.Response:
        """The reply to a request that meets them; nobody else does."""
        self.upstream.heal()
        self.upstream.fail("POST /api/*", *faults)
        reply = self.ask(path, stream=stream, model=model)
        self.upstream.heal()
        return reply

    def well(self) -> None:
        """The next request is as if nothing had been."""
        assert [said(line) for line in ended(self.ask())] == ["Once", " upon", " a", " time", ""]
        self.upstream.await_running(0)


def said(line: dict[str, Any]) -> str:
    return line["message"]["content"] if "message" in line else line["response"]


@pytest.fixture(scope="module", params=["unread", "as a job"])
def front(request: pytest.FixtureRequest) -> Iterator[Fronted]:
    plugins = [("looking", Looking())] if request.param == "as a job" else []
    models = ["tiny", *(f"busy-{status}-{stream}" for status in (429, 503) for stream in (True, False))]
    with (
        Upstream(models) as upstream,
        asking(fronted({"attic": upstream.url}, remote=NEVER_DOWN), *plugins) as (_, http),
    ):
        yield Fronted(upstream, http, unread=not plugins)


@pytest.fixture(scope="module", params=["unread", "as a job"])
def hasty(request: pytest.FixtureRequest) -> Iterator[Fronted]:
    """Here the server waits for no more than a moment."""
    plugins = [("looking", Looking())] if request.param == "as a job" else []
    with Upstream() as upstream:
        attic = behind(upstream.url, first_byte_timeout=0.25, stall_timeout=0.3)
        with asking(fronted({"attic": attic}, remote=NEVER_DOWN), *plugins) as (_, http):
            yield Fronted(upstream, http, unread=not plugins)


endpoints = pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
either = pytest.mark.parametrize(("path", "stream"), [("/api/generate", True), ("/api/chat", False)])
streamed = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@either
@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault(refuse=True), 502, f"closed the connection before it answered{AGAIN}"),
        (Fault(garbage=True), 502, f"sent what is no HTTP, or a head that is too long; see its url{AGAIN}"),
        (Fault(redirect="http://198.51.100.7/"), 502, f"redirects, which is not followed; correct its url{AGAIN}"),
        (Fault(gzip=True), 502, f"compressed its answer, although it was asked not to{AGAIN}"),
        (Fault(cut=0), 502, f"broke off in the middle of its answer{AGAIN}"),
        (Fault(status=401, body=b'{"error":"bad key"}'), 502, None),
        (Fault(status=502, body=b"<html>bad gateway</html>"), 502, "answered 502"),
        (Fault(status=418, body=b"short and stout"), 502, "answered 418"),
    ],
    ids=["refuses", "garbage", "redirects", "gzip", "cuts", "401", "502", "418"],
)
def test_s46_fails_before_its_answer_begins(
    front: Fronted, path: str, fault: Fault, status: int, words: str | None, *, stream: bool
) -> None:
    reply = front.told(fault, *[fault] * fault.refuse, path=path, stream=stream)
    key = "answered 401: bad key: it did not accept this server's key; see its key_env and key_file"
    assert refused(reply, status) == f"upstream 'attic' {words or key}"
    assert "retry-after" not in reply.headers


@either
@pytest.mark.parametrize("status", [400, 500])
def test_s46_refuses_in_words_that_reach_the_client(front: Fronted, path: str, status: int, *, stream: bool) -> None:
    reply = front.told(Fault(status=status, body=FIRE), path=path, stream=stream)
    assert refused(reply, status) == "the GPU is on fire"


@streamed
@pytest.mark.parametrize("status", [429, 503])
def test_s46_wants_a_pause_and_gets_it(front: Fronted, status: int, *, stream: bool) -> None:
    """For that model; others go on."""
    model = f"busy-{status}-{stream}"
    fault = Fault(status=status, headers={"Retry-After": "7"}, body=FIRE)
    replies = [front.told(fault, stream=stream, model=model), *(front.ask(stream=stream, model=model) for _ in "ab")]
    for reply in replies:
        assert refused(reply, status) == "the GPU is on fire"
        assert 5 <= int(reply.headers["retry-after"]) <= 7
    assert sum(json.loads(seen.body)["model"].startswith(model) for seen in front.upstream.requests if seen.body) == 1
    front.well()


@endpoints
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(cut=2), f"upstream 'attic' broke off in the middle of its answer{AGAIN}"),
        (Fault(cut=2, fin=True), f"upstream 'attic' broke off in the middle of its answer{AGAIN}"),
        (Fault(cut=2, clean=True), f"upstream 'attic' ended its answer before it was whole{AGAIN}"),
        (Fault(error_line="out of memory", after=2), "out of memory"),
    ],
    ids=["cuts", "closes", "ends early", "error line"],
)
def test_s46_breaks_off_in_mid_stream(front: Fronted, path: str, fault: Fault, words: str) -> None:
    """What had come stays, one line says what went wrong, and nobody is asked again."""
    asked = front.upstream.count("POST *")
    front.upstream.delay = 0.02  # a reset would overtake what is not read yet
    lines = ended(front.told(fault, path=path))
    front.upstream.delay = 0
    assert list(map(said, lines[:-1])) == ["Once", " upon"]
    assert lines[-1] == {"error": words}
    assert front.upstream.count("POST *") == asked + 1
    front.well()


@endpoints
def test_s46_cuts_an_answer_in_one_piece(front: Fronted, path: str) -> None:
    text = refused(front.told(Fault(cut=1), path=path, stream=False), 502)
    assert text == f"upstream 'attic' broke off in the middle of its answer{AGAIN}"


@streamed
@pytest.mark.parametrize("stall", ["head", "body"])
def test_s46_stalls_before_its_answer_begins(hasty: Fronted, stall: str, *, stream: bool) -> None:
    """An answer in one piece that is handed on unread has ten times as long to begin."""
    seconds = 2.5 if hasty.unread and not stream else 0.25
    reply = hasty.told(Fault(stall=stall), stream=stream)
    assert refused(reply, 504) == f"upstream 'attic' did not answer within {seconds} s{SLOW}"
    hasty.upstream.await_running(0)


@endpoints
@pytest.mark.parametrize("fault", [Fault(stall=2), Fault(trickle=0.01)], ids=["stalls", "trickles"])
def test_s46_stalls_in_mid_stream(hasty: Fronted, path: str, fault: Fault) -> None:
    """Bytes that make no line do not count as an answer."""
    reply = hasty.told(fault, path=path)
    words = f"upstream 'attic' sent nothing whole for 0.3 s in the middle of its answer{SLOW}"
    if fault.trickle:
        assert refused(reply, 504) == words
    else:
        assert ended(reply)[-1] == {"error": words}
    hasty.upstream.await_running(0)


def test_s46_trickles_an_answer_in_one_piece(hasty: Fronted) -> None:
    """However small the pieces are and however steadily they come. A job asks for a stream."""
    whole = f"upstream 'attic' did not end its answer within 2.5 s{SLOW}"
    line = f"upstream 'attic' sent nothing whole for 0.3 s in the middle of its answer{SLOW}"
    assert refused(hasty.told(Fault(trickle=0.05), stream=False), 504) == (whole if hasty.unread else line)
    hasty.upstream.await_running(0)


@streamed
def test_s46_sends_one_endless_line(front: Fronted, *, stream: bool) -> None:
    """The server keeps no more of it than `remote.max_line`, and hangs up."""
    before = psutil.Process().memory_info().rss
    reply = front.told(Fault(flood=True), stream=stream)
    assert refused(reply, 502) == (
        f"upstream 'attic' sent a line of more than {MEGABYTE} bytes (remote.max_line){AGAIN}"
    )
    front.upstream.await_running(0)
    assert psutil.Process().memory_info().rss - before < 16 * MEGABYTE
    front.well()
