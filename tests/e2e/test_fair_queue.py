"""Who is next where many wait for one model, and what those who wait are told. All from one address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from faults import Front, await_true, scripted_models, serving

from remuda import Receipt, hookimpl
from remuda.config import LimitsConfig
from remuda.hookspecs import Asking
from remuda.testing import LiveServer, Script

ENDLESS = Script(pieces=["a", " b"], repeat=1_000_000, delay=0.005)
ONE = LimitsConfig(parallel=1)


class _Office:
    """Whose requests are urgent, and the ids of requests in the order in which they ended."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    @hookimpl
    def remuda_priority(self, asking: Asking) -> int | None:
        return {"urgent": 7, "idle": -7}.get(asking.request_id.partition("-")[0])

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        if receipt.request_id != "holder":
            self.ids.append(receipt.request_id)


class Counter:
    """A model that answers one at a time, and who queues for it."""

    def __init__(self, server: LiveServer, front: Front, office: _Office) -> None:
        self.office, self.front = office, front
        self._server = server
        self._pool = ThreadPoolExecutor(128)
        self._http = httpx.Client(base_url=front.url, timeout=60, limits=httpx.Limits(max_connections=None))
        self._sent: list[Future[int]] = []

    def close(self) -> None:
        self._pool.shutdown()
        self._http.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Somebody, who has no key, is being served meanwhile."""
        body = {"model": "m", "prompt": "hi", "options": {"num_predict": -1}}
        with self._http.stream("POST", "/api/generate", json=body, headers={"X-Request-Id": "holder"}) as reply:
            lines = reply.iter_lines()
            next(lines)
            yield

    def send(self, id: str, key: str = "", **fields: Any) -> Future[int]:
        """A request for two tokens; returns once it waits."""
        waiting = self._waiting()
        headers = {"X-Request-Id": id, **({"Authorization": f"Bearer {key}"} if key else {})}
        body = {"model": "m", "prompt": "hi", "stream": False, "options": {"num_predict": 2}, **fields}

        def post() -> int:
            return self._http.post("/api/generate", json=body, headers=headers).status_code

        self._sent.append(self._pool.submit(post))
        await_true(lambda: self._waiting() == waiting + 1)
        return self._sent[-1]

    def positions(self) -> list[int]:
        """As `/api/ps` says, the longest waiting first."""
        return [entry["position"] for entry in self.front.queue()]

    def done(self) -> list[str]:
        """The ids of all that were sent, once they have been answered, in that order."""
        assert {sent.result(60) for sent in self._sent} == {200}
        return self.office.ids

    def _waiting(self) -> int:
        async def count() -> int:
            return len(self._server.pipeline.flow.herd.queued())

        return self._server.call(count)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    office = _Office()
    models = scripted_models(tmp_path, {"m": ENDLESS})
    with serving(models, limits=ONE, plugins=(("office", office),)) as (server, front):
        counter = Counter(server, front, office)
        yield counter
        counter.close()


def test_one_with_a_hundred_requests_does_not_hold_up_another(counter: Counter) -> None:
    hundred = [f"a-{number}" for number in range(100)]
    with counter.held():
        for id in hundred:
            counter.send(id, "A")
        counter.send("b-0", "B")
        assert counter.positions() == [1, *range(3, 102), 2]
        assert counter.front.ps()["m"]["waiting"] == 101
        waited = [entry["seconds"] for entry in counter.front.queue()]
        assert waited == sorted(waited, reverse=True)
        assert {entry["model"] for entry in counter.front.queue()} == {"m:latest"}
    ended = counter.done()
    assert ended.index("b-0") <= 2
    assert [id for id in ended if id != "b-0"] == hundred
    assert counter.positions() == []


def test_two_with_many_take_turns(counter: Counter) -> None:
    with counter.held():
        for client in "ab":
            for number in range(6):
                counter.send(f"{client}-{number}", client)
    ended = counter.done()
    assert [id for pair in zip(ended[::2], ended[1::2], strict=True) for id in sorted(pair)] == [
        f"{client}-{number}" for number in range(6) for client in "ab"
    ]


def test_the_urgent_go_first_and_the_idle_last(counter: Counter) -> None:
    with counter.held():
        for id in ("idle-0", "a-0", "a-1", "urgent-0", "urgent-1", "idle-1", "b-0"):
            counter.send(id, id.partition("-")[0])
        # `a-1` and `b-0` are of two clients: the turn of `b-0` comes before the second one of the other.
        assert counter.positions() == [6, 3, 5, 1, 2, 7, 4]
    assert counter.done() == ["urgent-0", "urgent-1", "a-0", "b-0", "a-1", "idle-0", "idle-1"]


def test_who_leaves_the_queue_holds_up_nobody(counter: Counter) -> None:
    with counter.held():
        counter.send("a-0")
        with httpx.Client(base_url=counter.front.url, timeout=60) as leaving, ThreadPoolExecutor(1) as pool:
            body = {"model": "m", "prompt": "hi", "stream": False}
            gone = pool.submit(leaving.post, "/api/generate", json=body, timeout=0.5)
            counter.front.await_waiting(2)
            assert isinstance(gone.exception(30), httpx.ReadTimeout)
        counter.front.await_waiting(1)
        counter.send("a-1")
        assert counter.positions() == [1, 2]
    assert [id for id in counter.done() if id.startswith("a-")] == ["a-0", "a-1"]


def _lines(front: Front, into: list[dict[str, Any]], **fields: Any) -> None:
    body = {"prompt": "hi", "progress": True, **fields}
    with httpx.stream("POST", f"{front.url}/api/generate", json=body, timeout=60) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            into.append(json.loads(line))  # noqa: PERF401 -- it is looked at while it grows


def test_who_waits_for_a_turn_is_told_where_it_stands(counter: Counter) -> None:
    first: list[dict[str, Any]] = []
    second: list[dict[str, Any]] = []
    two = {"model": "m", "options": {"num_predict": 2}}
    with ThreadPoolExecutor(2) as pool, counter.held():
        for place, told in enumerate((first, second), 1):
            pool.submit(_lines, counter.front, told, **two)
            counter.front.await_waiting(place)
    assert first[0] == {"status": "waiting", "position": 1}
    assert second[0] == {"status": "waiting", "position": 2}
    assert {line["status"] for line in (*first, *second) if "status" in line} == {"waiting"}
    for told in (first, second):
        positions = [line["position"] for line in told if "status" in line]
        assert positions == sorted(set(positions), reverse=True)
        assert [line["response"] for line in told[len(positions) :]] == ["a", " b", ""]
        assert told[-1]["done"]
    free: list[dict[str, Any]] = []
    _lines(counter.front, free, **two)
    assert all("status" not in line for line in free)


@pytest.mark.parametrize("prompt", ["hi", ""])
def test_who_waits_for_a_load_is_told_how_far_it_is(tmp_path: Path, prompt: str) -> None:
    script = Script(pieces=["a"], load_delay=1.6, load_steps=4, needs=1_000_000)
    with serving(scripted_models(tmp_path, {"m": script})) as (_, front):
        told: list[dict[str, Any]] = []
        _lines(front, told, model="m", prompt=prompt)
    loading = [line for line in told if line.get("status") == "loading model"]
    assert {(line["total"], line["position"]) for line in loading} == {(1_000_000, 1)}
    done = [line.get("completed", 0) for line in loading]
    assert done == sorted(set(done))
    assert {250_000, 500_000} <= set(done)
    assert told[-1]["done_reason"] == ("stop" if prompt else "load")


def test_a_queue_that_is_full_refuses_at_once(tmp_path: Path) -> None:
    models = scripted_models(tmp_path, {"m": ENDLESS})
    with serving(models, limits=LimitsConfig(parallel=1, queue=3)) as (server, front):
        counter = Counter(server, front, _Office())
        with counter.held():
            for number in range(3):
                counter.send(f"a-{number}")
            for stream in (True, False):
                reply = front.ask("m", stream=stream)
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
                assert reply.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
                assert reply.elapsed.total_seconds() < 1
        counter.done()
        counter.close()
        assert front.told("m", options={"num_predict": 1}) == "a"


def test_who_has_waited_too_long_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    models = scripted_models(tmp_path, {"m": ENDLESS})
    with serving(models, limits=LimitsConfig(parallel=1, queue_timeout=1.0)) as (server, front):
        counter = Counter(server, front, _Office())
        with counter.held():
            reply = front.ask("m")
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert counter.positions() == []
            counter.send("a-0")
        counter.done()
        counter.close()
