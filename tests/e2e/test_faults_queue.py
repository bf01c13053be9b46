"""Scenarios S17, S18 and S22: more requests than can be served, for one model and for several that want one place."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from faults import Front, Raw, both_engines, endless, runner_pid, scripted_models, serving, serving_apart

from remuda.config import LimitsConfig, ResidencyConfig
from remuda.testing import Script

FEW: dict[str, Any] = {"options": {"num_predict": 2}}
QUEUE = 512


def test_s17_one_too_many(tmp_path: Path) -> None:
    """S17: it is told so at once, in the protocol's words, and all others are served."""
    models = scripted_models(tmp_path, {"m": Script(pieces=["tick ", "tock "], repeat=100_000, delay=0.001)})
    settings = f"limits.queue = {QUEUE}\nlimits.parallel = 8"
    with serving_apart(tmp_path, settings, models) as server, closing(Front(server.url)) as front, ExitStack() as stack:
        with ExitStack() as holding:
            for _ in range(8):
                holding.enter_context(Raw(server.url)).post(model="m").until(b"}\n")
            waiting = [stack.enter_context(Raw(server.url)).post(model="m", stream=False, **FEW) for _ in range(QUEUE)]
            front.await_waiting(QUEUE)
            for _ in range(3):
                began = time.monotonic()
                reply = front.ask("m")
                assert time.monotonic() - began < 1  # 50 ms, on a machine with nothing else to do
                assert reply.status_code == 503
                assert reply.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
                assert int(reply.headers["retry-after"]) >= 1
        for client in waiting:
            reply = client.until(b"}")
            assert reply.startswith(b"HTTP/1.1 200 ")
            assert b'"response":"tick tock "' in reply


@both_engines
def test_s18_waits_too_long(engine: str, tmp_path: Path) -> None:
    """S18: who has waited for as long as one may, or leaves, is taken out of the queue; the others keep their order."""
    limits = LimitsConfig(parallel=1, queue_timeout=2.5)
    with serving({"m": endless(engine, tmp_path)}, limits=limits) as (_, front), ThreadPoolExecutor() as pool:
        held = Raw(front.url).post(model="m")
        held.until(b"}\n")
        began = time.monotonic()
        late = pool.submit(front.ask, "m")
        front.await_waiting(1)
        leaver = Raw(front.url).post(model="m")
        front.await_waiting(2)
        time.sleep(max(0.0, began + 1.2 - time.monotonic()))  # those that come now have some time left when it is over
        # They take a tenth of a second each: a turn that is taken out of order is seen.
        patient = asked_in_turn(front, pool, {"num_predict": 10 if engine == "scripted" else 200})
        leaver.sock.close()
        front.await_waiting(3)
        assert [waiting["position"] for waiting in front.queue()] == [1, 2, 3]
        reply = late.result()
        assert 2 < time.monotonic() - began < 10
        assert reply.status_code == 503
        assert reply.json() == {"error": "server busy, please try again.  the request waited 2.5 seconds for its turn"}
        assert int(reply.headers["retry-after"]) >= 1
        assert len(front.queue()) == 2
        held.sock.close()
        assert ended_in_turn(patient)


@both_engines
def test_s22_a_busy_model_finishes_first(engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S22: two who wait for another model cause one eviction and one load; who comes after them waits for them."""
    caplog.set_level(logging.INFO, "remuda.residency")
    models = {name: endless(engine, tmp_path, name) for name in ("busy", "other")}
    one = ResidencyConfig(max_loaded=1)
    with serving(models, residency=one) as (live, front), ThreadPoolExecutor() as pool:
        with front.stream("busy", options={"num_predict": 200 if engine == "scripted" else 3000}) as lines:
            next(lines)
            pid = runner_pid(live, "busy")
            waiting = [pool.submit(_timed, front, "other") for _ in range(2)]
            front.await_waiting(2)
            late = pool.submit(_timed, front, "busy")
            front.await_waiting(3)
            assert runner_pid(live, "busy") == pid
            assert list(front.ps()) == ["busy"]
            rest = list(lines)
            ended = time.monotonic()
        assert rest[-1]["done_reason"] == "length"
        assert all(ended < one.result() < late.result() for one in waiting)
        steps = re.findall(r"(busy|other):latest (loaded|unloaded)", caplog.text)
        assert [" ".join(step) for step in steps] == [
            *("busy loaded", "busy unloaded", "other loaded", "other unloaded", "busy loaded")
        ]


def test_s22_who_has_left_evicts_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S22: the place is not wanted any more, so the busy model keeps it, and serves who came later."""
    caplog.set_level(logging.INFO, "remuda.residency")
    models = {name: endless("scripted", tmp_path, name) for name in ("busy", "other")}
    with serving(models, residency=ResidencyConfig(max_loaded=1)) as (_, front), ThreadPoolExecutor() as pool:
        with front.stream("busy") as lines:
            next(lines)
            with Raw(front.url) as leaver:
                leaver.post(model="other")
                front.await_waiting(1)
                late = pool.submit(front.told, "busy", **FEW)
                front.await_waiting(2)
            assert late.result()
            assert "response" in next(lines)
        assert front.told("busy", **FEW)
        assert re.findall(r"(\w+):latest (loaded|unloaded)", caplog.text) == [("busy", "loaded")]


@both_engines
def test_s22_many_wait_for_one_load(engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S22: all of them are served by it."""
    caplog.set_level(logging.INFO, "remuda.residency")
    with serving({"m": endless(engine, tmp_path)}) as (_, front), ThreadPoolExecutor(12) as pool:
        assert all(pool.map(lambda _: front.told("m", **FEW), range(12)))
        assert caplog.text.count("m:latest loaded") == 1


def _timed(front: Front, model: str) -> float:
    """When an answer that must succeed was there."""
    assert front.told(model, **FEW)
    return time.monotonic()


def asked_in_turn(front: Front, pool: ThreadPoolExecutor, options: dict[str, Any]) -> list[Future[tuple[float, int]]]:
    """Two requests, the second sent when the first is known to wait; they give the time of their end and their status.

    Two others wait already.
    """

    def ask() -> tuple[float, int]:
        status = front.ask("m", options=options).status_code
        return time.monotonic(), status

    asked: list[Future[tuple[float, int]]] = []
    for count in (3, 4):
        asked.append(pool.submit(ask))
        front.await_waiting(count)
    return asked


def ended_in_turn(asked: Sequence[Future[tuple[float, int]]]) -> bool:
    ends = [one.result() for one in asked]
    return ends == sorted(ends) and {status for _, status in ends} == {200}
