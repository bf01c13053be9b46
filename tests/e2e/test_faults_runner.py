"""Scenarios S1 to S5 and S21: a process behind a model dies, hangs, or never gets that far."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from faults import ENDLESS, Front, await_true, both_engines, endless, runner_pid, runners, scripted_models, serving

from remuda.config import ResidencyConfig
from remuda.testing import LiveServer, Script

DIED = "model runner has unexpectedly stopped"


def kill_mid_stream(live: LiveServer, front: Front, number: int = signal.SIGKILL) -> tuple[float, list[dict[str, Any]]]:
    """Signal the process of the model `m` after three lines; the seconds until its stream ended, and what came last."""
    with front.stream("m") as lines:
        for _ in range(3):
            assert not next(lines)["done"]
        os.kill(runner_pid(live, "m"), number)
        killed = time.monotonic()
        rest = list(lines)
    return time.monotonic() - killed, rest


@both_engines
def test_s1_killed_while_it_streams(engine: str, tmp_path: Path) -> None:
    """S1: the error is the last line, at once, of a body that ends as it should; the next request loads anew."""
    others = scripted_models(tmp_path, {"other": Script(**ENDLESS)})
    with serving({"m": endless(engine, tmp_path), **others}) as (live, front), front.stream("other") as other:
        next(other)
        before = runner_pid(live, "other")
        seconds, rest = kill_mid_stream(live, front)
        assert seconds < 3  # half a second, on a machine with nothing else to do
        assert [set(line) == {"error"} for line in rest] == [False] * (len(rest) - 1) + [True]
        assert DIED in rest[-1]["error"]
        assert not any(line["done"] for line in rest[:-1])
        assert front.told("m", options={"num_predict": 2})
        assert "response" in next(other)
        assert runner_pid(live, "other") == before


@both_engines
def test_s2_killed_while_it_answers_in_one_piece(engine: str, tmp_path: Path) -> None:
    """S2: status 500 and an error, no text; the next request is served."""
    with serving({"m": endless(engine, tmp_path)}) as (live, front), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(front.ask, "m")
        front.await_running("m", 1)
        os.kill(runner_pid(live, "m"), signal.SIGKILL)
        killed = time.monotonic()
        reply = asked.result()
        assert time.monotonic() - killed < 3
        assert (reply.status_code, list(reply.json())) == (500, ["error"])
        assert DIED in reply.json()["error"]
        assert front.told("m", options={"num_predict": 2})


@pytest.mark.parametrize("fault", ["segv", "abort"])
@pytest.mark.parametrize("fault_at", [-1, 0], ids=["at its load", "at its first token"])
def test_s3_dies_before_the_first_token(fault: Any, fault_at: int, tmp_path: Path) -> None:
    """S3: a status can still be had, so it is 500, with the last line of stderr and without a path."""
    models = scripted_models(tmp_path, {"m": Script(fault=fault, fault_at=fault_at)})
    with serving(models) as (_, front):
        reply = front.ask("m", stream=fault == "segv")
        assert (reply.status_code, list(reply.json())) == (500, ["error"])
        assert "the script breaks it" in reply.json()["error"]
        assert "/" not in reply.json()["error"]


def test_s3_crashes_while_a_real_model_loads(tmp_path: Path) -> None:
    """S3, with llama.cpp: what is told is how it ended, and the next request is served."""
    with serving({"m": endless("llama.cpp", tmp_path)}) as (_, front), _Killer(signal.SIGSEGV) as killer:
        reply = front.ask("m", stream=True)
        assert reply.status_code == 500
        assert "SIGSEGV" in reply.json()["error"]
        assert killer.killed == 1
        killer.stop()
        assert front.told("m", options={"num_predict": 2})


@both_engines
def test_s4_stopped_while_it_streams(engine: str, tmp_path: Path) -> None:
    """S4: a process that hangs is ended after `stall_timeout`: an error line, and its place is free."""
    residency = ResidencyConfig(stall_timeout=1.0)
    with serving({"m": endless(engine, tmp_path)}, residency=residency) as (live, front):
        seconds, rest = kill_mid_stream(live, front, signal.SIGSTOP)
        assert 0.5 < seconds < 5
        assert "it gave no sign of life for 1 seconds and was ended" in rest[-1]["error"]
        assert front.told("m", options={"num_predict": 2})
        assert front.running("m") == 0


class _Killer:
    """Ends every process that this one starts for a model, as soon as there is one, until it is told to stop."""

    def __init__(self, number: int) -> None:
        self._number, self._known = number, runners(os.getpid())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.killed = 0

    def __enter__(self) -> _Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.005):
            for pid in runners(os.getpid()) - self._known:
                self._known.add(pid)
                os.kill(pid, self._number)
                self.killed += 1


def fails_three_times(front: Front, words: str) -> None:
    """Three tries, the third one after a pause; then a refusal that costs nothing."""
    began = time.monotonic()
    for _ in range(3):
        reply = front.ask("m")
        assert reply.status_code == 500
        assert words in reply.json()["error"]
    assert time.monotonic() - began >= 0.5
    for _ in range(3):
        began = time.monotonic()
        reply = front.ask("m")
        seconds = time.monotonic() - began
        assert reply.status_code == 503
        assert "'m:latest' is quarantined" in reply.json()["error"]
        assert words in reply.json()["error"]
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert seconds < 0.5  # 50 ms, on a machine with nothing else to do


def test_s5_crashes_at_each_load_until_its_time_is_over(tmp_path: Path) -> None:
    """S5: the quarantine ends by itself, for one try; a failure makes it twice as long, a success ends it."""
    left = tmp_path / "left"
    left.write_text("4")
    scripts = {"m": Script(fault="segv", fault_at=-1, faults_left=str(left)), "other": Script()}
    residency = ResidencyConfig(quarantine=1.0)
    with serving(scripted_models(tmp_path, scripts), residency=residency) as (_, front):
        assert front.told("other")
        fails_three_times(front, "the script breaks it")
        refused: list[str] = []
        while (reply := front.ask("m")).status_code != 200:
            assert len(refused) < 1000
            refused.append(reply.headers.get("retry-after", "tried"))
            time.sleep(0.05)
        assert [retry for retry, _ in groupby(refused)] == ["1", "tried", "2", "1"]
        assert refused.count("tried") == 1
        assert front.told("other")


@both_engines
def test_s5_crashes_at_each_load_until_it_is_stopped(engine: str, tmp_path: Path) -> None:
    """S5: unloading ends a quarantine; other models are served all the time, and never loaded anew."""
    models = {"m": endless(engine, tmp_path), **scripted_models(tmp_path, {"other": Script(**ENDLESS)})}
    with serving(models) as (live, front), front.stream("other") as other:
        next(other)
        before = runner_pid(live, "other")
        with _Killer(signal.SIGSEGV) as killer:
            fails_three_times(front, "SIGSEGV")
            assert killer.killed == 3
        assert "response" in next(other)
        assert runner_pid(live, "other") == before
        front.unload("m")
        assert front.told("m", options={"num_predict": 2})


@pytest.mark.parametrize("fault", ["oom", "kill"])
def test_s21_out_of_memory_while_it_streams(fault: Any, tmp_path: Path) -> None:
    """S21: an error line; the model is gone, and the next request loads it anew."""
    left = tmp_path / "left"
    left.write_text("1")
    script = Script(**ENDLESS, fault=fault, fault_at=3, faults_left=str(left))
    with serving(scripted_models(tmp_path, {"m": script})) as (_, front):
        lines = front.lines("m")
        assert [list(line) == ["error"] for line in lines] == [False] * 3 + [True]
        assert ("out of memory" if fault == "oom" else "the script breaks it") in lines[-1]["error"]
        await_true(lambda: "m" not in front.ps())
        assert front.told("m", options={"num_predict": 2})


def test_s21_a_real_model_is_ended_for_want_of_memory_while_it_streams(tmp_path: Path) -> None:
    """S21, with llama.cpp: as the kernel does it."""
    with serving({"m": endless("llama.cpp", tmp_path)}) as (live, front):
        _, rest = kill_mid_stream(live, front)
        assert "killed by SIGKILL" in rest[-1]["error"]
        await_true(lambda: "m" not in front.ps())
        assert front.told("m", options={"num_predict": 2})
        assert runner_pid(live, "m")
