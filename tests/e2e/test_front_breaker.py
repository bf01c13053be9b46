"""An upstream that fails is left alone, tried again and used again; and what others do for it meanwhile (S46)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from faults import await_true
from fronting import JSON, NDJSON, Looking, asking, behind, ended, fronted, refused, states
from upstream import Fault, Upstream

from remuda.config import RemoteConfig

GENERATE = "POST /api/generate"
WORDS = b'{"error":"the GPU is on fire"}'
BROKEN = Fault(status=502, body=WORDS)
REMOTE = RemoteConfig(cooldown=0.3, probe_interval=60)


@contextmanager
def two(
    remote: RemoteConfig = REMOTE, *, job: bool = False, models: Sequence[str] = ("tiny:latest",), **fields: Any
) -> Iterator[Two]:
    with ExitStack() as stack:
        attic, cellar = (stack.enter_context(Upstream(models, loaded=models)) for _ in "ab")
        attic.words, cellar.words = ["from attic"], ["from cellar"]
        upstreams = {name: behind(each.url, **fields) for name, each in (("attic", attic), ("cellar", cellar))}
        plugins = [("looking", Looking())] if job else []
        _, http = stack.enter_context(asking(fronted(upstreams, remote=remote), *plugins))
        yield Two(attic, cellar, http)


class Two:
    """Two upstreams with one model, and a client of the server before them."""

    def __init__(self, attic: Upstream, cellar: Upstream, http: httpx.Client) -> None:
        self.attic, self.cellar, self.http = attic, cellar, http

    def ask(self, upstream: str = "", *, stream: bool = False, model: str = "tiny") -> httpx.Response:
        headers = {"X-Remuda-Upstream": upstream} if upstream else {}
        body = {"model": model, "prompt": "hi", "stream": stream}
        return self.http.post("/api/generate", json=body, headers=headers)

    def asked(self) -> tuple[int, int]:
        return self.attic.count(GENERATE), self.cellar.count(GENERATE)


def test_s46_left_alone_after_five_failures_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with two() as front:
        front.attic.fail(GENERATE, BROKEN, always=True)
        for _ in range(5):
            assert refused(front.ask("attic"), 502) == "the GPU is on fire"
        assert states(front.http)["attic"]["state"] == "down"
        alone = front.ask("attic")
        assert refused(alone, 503) == (
            "no upstream can serve model 'tiny:latest' now: 'attic' is left alone after 5 failures "
            "(its last: answered 502: the GPU is on fire); the next try is in 1 s"
        )
        assert alone.headers["retry-after"] == "1"
        assert front.asked() == (5, 0)
        await_true(lambda: states(front.http)["attic"]["state"] == "trying")
        assert refused(front.ask("attic"), 502) == "the GPU is on fire"  # the one that tries
        assert refused(front.ask("attic"), 503).endswith("the next try is in 1 s")
        assert front.asked() == (6, 0)
        front.attic.heal()
        await_true(lambda: states(front.http)["attic"]["state"] == "trying")
        assert front.ask("attic").json()["response"] == "from attic"
        attic = states(front.http)["attic"]
        assert (attic["state"], attic["error"], attic["requests"], attic["failures"]) == ("up", "", 7, 6)
    log = [record.getMessage() for record in caplog.records if record.name == "remuda.remote"]
    last = "upstream 'attic' answered 502: the GPU is on fire"
    down = f"upstream 'attic' is left alone for 0 s after 5 failures in a row; the last: {last}"
    assert log == [down, "upstream 'attic' is back"]


def test_s46_a_model_that_always_fails_is_left_alone_and_others_are_not() -> None:
    """What a model does to itself is not its server's fault."""
    with two(models=("tiny:latest", "small:latest")) as front:
        front.attic.fail(GENERATE, *[Fault(status=500, body=WORDS)] * 5)
        for _ in range(5):
            assert refused(front.ask("attic"), 500) == "the GPU is on fire"
        alone = front.ask("attic")
        assert "failed 5 requests for this model in a row" in refused(alone, 503)
        assert alone.headers["retry-after"] == "1"
        assert front.asked() == (5, 0)
        assert front.ask("attic", model="small").json()["response"] == "from attic"
        assert front.ask().json()["response"] == "from cellar"
        assert states(front.http)["attic"]["state"] == "up"
        await_true(lambda: front.ask("attic").status_code == 200)


def test_s46_only_one_request_tries_and_others_need_not_wait() -> None:
    with two() as front, ThreadPoolExecutor(1) as pool:
        front.attic.fail(GENERATE, *[BROKEN] * 5)
        for _ in range(5):
            front.ask("attic")
        await_true(lambda: states(front.http)["attic"]["state"] == "trying")
        front.attic.delay = 0.3
        trial = pool.submit(front.ask, "attic")
        front.attic.await_request(GENERATE, 6)
        assert "'attic' is being tried again after 5 failures" in refused(front.ask("attic"), 503)
        assert front.ask().json()["response"] == "from cellar"
        assert trial.result().json()["response"] == "from attic"
        assert front.asked() == (6, 1)
        assert states(front.http)["attic"]["state"] == "up"


@pytest.mark.parametrize("job", [False, True], ids=["unread", "as a job"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(refuse=True),
        Fault(garbage=True),
        Fault(status=500, body=WORDS),
        Fault(status=503, body=WORDS, headers={"Retry-After": "0"}),
        Fault(cut=0),
    ],
    ids=["refuses", "garbage", "500", "503", "cuts"],
)
def test_s46_another_one_is_asked_before_the_answer_begins(
    both: dict[bool, Two], fault: Fault, *, stream: bool, job: bool
) -> None:
    front = both[job]
    before = front.asked()
    for upstream in (front.attic, front.cellar):
        upstream.heal()
    front.attic.fail(GENERATE, fault, always=True)
    replies = [front.ask(stream=stream) for _ in range(4)]
    front.attic.heal()
    for reply in replies:
        assert (reply.status_code, reply.headers["content-type"]) == (200, NDJSON if stream else JSON)
        assert job or reply.headers["x-remuda-upstream"] == "cellar"
        assert json.loads(reply.content.split(b"\n")[0])["response"] == "from cellar"
    attic, cellar = front.asked()
    assert attic > before[0]
    assert cellar == before[1] + 4


@pytest.fixture(scope="module")
def both() -> Iterator[dict[bool, Two]]:
    """By whether jobs are made of requests. Nobody is ever left alone there."""
    remote = RemoteConfig(failures=10_000, probe_interval=60)
    with two(remote, stall_timeout=0.2) as unread, two(remote, job=True, stall_timeout=0.2) as jobs:
        yield {False: unread, True: jobs}


@pytest.mark.parametrize("job", [False, True], ids=["unread", "as a job"])
@pytest.mark.parametrize("fault", [Fault(cut=1), Fault(stall=1), Fault(cut=1, clean=True)], ids=["cut", "stall", "end"])
def test_s46_nobody_else_is_asked_after_the_first_byte(both: dict[bool, Two], fault: Fault, *, job: bool) -> None:
    front = both[job]
    for upstream in (front.attic, front.cellar):
        upstream.heal()
        upstream.fail(GENERATE, fault)
        upstream.delay = 0.02
    before = front.asked()
    lines = ended(front.ask(stream=True))
    assert lines[0]["response"].startswith("from")
    assert "error" in lines[-1]
    assert sum(front.asked()) == sum(before) + 1
    for upstream in (front.attic, front.cellar):
        upstream.heal()
        upstream.delay = 0


def test_s46_all_of_them_fail(both: dict[bool, Two]) -> None:
    """The last one's own words are what the client is told."""
    front = both[False]
    for upstream, word in ((front.attic, "attic"), (front.cellar, "cellar")):
        upstream.heal()
        upstream.fail(GENERATE, Fault(status=500, body=b'{"error":"no luck at %b"}' % word.encode()))
    reply = front.ask()
    assert refused(reply, 500) == f"no luck at {reply.headers['x-remuda-upstream']}"
    for upstream in (front.attic, front.cellar):
        upstream.heal()


def test_s46_an_upstream_that_is_gone_and_comes_back() -> None:
    """Nobody notices; its breaker opens after five refused connections, and it serves again when it is back."""
    with two() as front:
        front.attic.stop()
        for _ in range(12):
            assert front.ask().json()["response"] == "from cellar"
        attic = states(front.http)["attic"]
        assert attic["state"] in {"down", "trying"}
        assert attic["failures"] >= 5
        assert attic["error"] == "upstream 'attic' refused the connection"
        front.attic.start()
        await_true(lambda: front.ask().json()["response"] == "from attic")
        assert states(front.http)["attic"]["state"] == "up"
        front.cellar.stop()
        assert front.ask().json()["response"] == "from attic"
