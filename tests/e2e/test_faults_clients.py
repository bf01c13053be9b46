"""Scenarios S9 to S15: clients that leave at all times, and clients that do not read."""

from __future__ import annotations

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults import (
    ENDLESS,
    Front,
    Raw,
    await_true,
    both_engines,
    endless,
    runner_pid,
    scripted_models,
    serving,
    serving_apart,
)

from remuda.config import LimitsConfig, ServerConfig
from remuda.testing import Script

FEW: dict[str, Any] = {"options": {"num_predict": 2}}
ONE = LimitsConfig(parallel=1)
KILOBYTE = 1024


def told_about(front: Front, model: str) -> dict[str, Any]:
    """What /api/ps says of a model that does not change while it works."""
    return {key: value for key, value in front.ps()[model].items() if key not in {"running", "expires_at"}}


@both_engines
def test_s9_leaves_while_text_is_written(engine: str, tmp_path: Path) -> None:
    """S9: the model stops writing, stays as it was, and has room for the next request."""
    with serving({"m": endless(engine, tmp_path)}, limits=ONE) as (live, front):
        with front.stream("m") as lines:
            next(lines)
            before, pid = told_about(front, "m"), runner_pid(live, "m")
            assert front.running("m") == 1
        assert front.await_running("m", 0) < 3  # a tenth of a second, on a machine with nothing else to do
        assert told_about(front, "m") == before
        assert front.told("m", **FEW)
        assert runner_pid(live, "m") == pid


def test_s10_leaves_while_a_long_prompt_is_read(tmp_path: Path) -> None:
    """S10: reading stops with the batch at hand, far from the prompt's end; who shares the model goes on."""
    script = Script(**ENDLESS, prompt_chunk=10)
    limits = LimitsConfig(parallel=2, context=16384)
    with serving(scripted_models(tmp_path, {"m": script}), limits=limits) as (_, front), front.stream("m") as other:
        next(other)
        began = time.monotonic()
        with Raw(front.url) as leaver:
            leaver.post(model="m", prompt="x" * 8000)
            front.await_running("m", 2)
        assert front.await_running("m", 1) < 2
        assert time.monotonic() - began < 8000 / script.prompt_chunk * script.delay
        assert "response" in next(other)


@both_engines
def test_s12_leaves_while_its_model_loads(engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S12: the load goes on although nobody waits for it any more, and the next request has it ready."""
    caplog.set_level(logging.INFO, "remuda.residency")
    models = {"m": endless(engine, tmp_path)}
    if engine == "scripted":
        models = scripted_models(tmp_path, {"m": Script(load_delay=0.5)})
    with serving(models) as (_, front):
        with Raw(front.url) as leaver:
            leaver.post(model="m")
            await_true(lambda: front.ps().get("m", {}).get("state") == "loading")
        await_true(lambda: front.ps()["m"]["state"] == "ready")
        assert front.running("m") == 0
        assert front.told("m", **FEW)
        assert caplog.text.count("m:latest loaded") == 1


def test_s13_half_closed(tmp_path: Path) -> None:
    """S13: who closes the sending half only counts as gone: the model has room for the next request."""
    models = scripted_models(tmp_path, {"m": Script(**ENDLESS)})
    with serving(models, limits=ONE) as (_, front), Raw(front.url) as client:
        client.post(model="m").until(b"}\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert front.await_running("m", 0) < 3
        assert front.told("m", **FEW)
        assert b'"done":true' not in client.until(b'"done":true')


def test_s14_stops_reading(tmp_path: Path) -> None:
    """S14: a stream that nobody reads takes at most 256 KB of the server's memory, and is dropped after a while."""
    many = 16
    script = Script(pieces=["tick " * 20, "tock " * 20], repeat=100_000, delay=0.01)
    limits, server = LimitsConfig(parallel=many), ServerConfig(write_timeout=1.0, drain_timeout=1.0)
    with (
        serving(scripted_models(tmp_path, {"m": script}), limits=limits, server=server) as (live, front),
        ExitStack() as stack,
    ):
        assert live.socket is not None
        live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted sockets inherit it
        with ThreadPoolExecutor(many) as pool:
            assert all(pool.map(lambda _: front.told("m", options={"num_predict": 50}), range(many)))
        before = psutil.Process().memory_info().rss
        for _ in range(many):
            stack.enter_context(Raw(live.url, receive_buffer=4096)).post(model="m")
        front.await_running("m", many)
        front.await_running("m", 0, seconds=30)
        assert psutil.Process().memory_info().rss - before < many * 256 * KILOBYTE
        assert front.told("m", **FEW)


def test_s15_leaves_ten_thousand_lines_behind(tmp_path: Path) -> None:
    """S15: nobody else notices, neither while the lines are sent nor when their reader goes."""
    models = scripted_models(tmp_path, {"m": Script(pieces=["tick ", "tock "], repeat=5000)})
    with serving_apart(tmp_path, "", models) as server, closing(Front(server.url)) as front:
        front.told("m", **FEW)
        gaps: list[float] = []
        for _ in range(5):
            with Raw(server.url) as leaver:
                leaver.post(model="m").until(b"}\n")
                reading = threading.Thread(target=leaver.until, args=(b'"done":true',))
                reading.start()
                gaps += _gaps(front)
                leaver.sock.shutdown(socket.SHUT_RDWR)
                reading.join()
            gaps += _gaps(front)
        assert sorted(gaps)[-2] < 0.5  # 50 ms, on a machine with nothing else to do
        front.await_running("m", 0)


def _gaps(front: Front) -> list[float]:
    """How long each of twenty small requests took."""
    gaps: list[float] = []
    for _ in range(20):
        began = time.monotonic()
        assert front.get("/api/version").status_code == 200
        gaps.append(time.monotonic() - began)
    return gaps
