"""Who is served, who waits and who leaves, looked at from outside: by the processes that hold the models."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from faults import Raw, await_true, runner_pid, scripted_models, serving
from herding import Watch
from tiny_models import write_tiny_llama

from remuda import Receipt, hookimpl
from remuda.config import LimitsConfig, ModelConfig, ResidencyConfig
from remuda.testing import Script

from ..conftest import DEMO

SHORT = Script(pieces=["a", " b"])
TALE = Script(pieces=["tick ", "tock "], repeat=40, delay=0.02)
"""Eighty tokens in more than a second and a half."""
SLOW = Script(pieces=["a", " b"], load_delay=0.6)
Models = dict[str, ModelConfig]
ENGINES = ["scripted", "llamacpp"]
"""With the real one all has one thread: two would wait for each other on a busy machine."""


def _real(folder: Path, *names: str) -> Models:
    return {
        name: ModelConfig(path=str(write_tiny_llama(folder / f"{name}.gguf", name=name, seed=seed)))
        for seed, name in enumerate(names)
    }


def _room(count: int) -> ResidencyConfig:
    return ResidencyConfig(max_loaded=count)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def loads(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The models that were loaded, in this order."""
    caplog.set_level(logging.INFO, "remuda.residency")

    def said() -> list[str]:
        lines = [record.getMessage().split() for record in caplog.records if record.name == "remuda.residency"]
        return [words[0].removesuffix(":latest") for words in lines if words[1:2] == ["loaded"]]

    return said


def _told(futures: list[Future[str]]) -> set[str]:
    return {future.result(30) for future in futures}


@pytest.mark.parametrize("tale", ["tale", DEMO])
def test_a_busy_model_finishes_while_another_waits(tmp_path: Path, pool: ThreadPoolExecutor, tale: str) -> None:
    real = tale == DEMO
    models = _real(tmp_path, "short") if real else scripted_models(tmp_path, {"tale": TALE, "short": SHORT})
    options = {"num_predict": 40 if real else 100, "temperature": 0, "num_thread": 1}
    with serving(models, residency=_room(1)) as (server, front), Watch() as watch:
        with front.stream(tale, "Tell me a long story.", options=options) as lines:
            first = next(lines)["response"]
            [pid] = watch.alive
            other = pool.submit(front.told, "short", options={"num_predict": 2})
            front.await_waiting(1)
            assert set(front.ps()) == {tale}
            rest = list(lines)
        assert other.result(30)
        assert set(front.ps()) == {"short"}
        assert watch.pids == [pid, runner_pid(server, "short")]
        assert watch.most == 1
        assert rest[-1]["done"]
        told = first + "".join(line["response"] for line in rest)
        alone = front.told(tale, "Tell me a long story.", options=options) if real else "tick tock " * 40
        assert told == alone


def test_a_model_that_makes_room_serves_those_who_came_before(
    tmp_path: Path, pool: ThreadPoolExecutor, loads: Callable[[], list[str]]
) -> None:
    """Who comes later waits until the model is back."""
    models = scripted_models(tmp_path, {"tale": TALE, "short": SHORT})
    limits = LimitsConfig(parallel=1)
    with serving(models, residency=_room(1), limits=limits) as (_, front), front.stream("tale") as lines:
        next(lines)
        few = {"num_predict": 3}
        asked = [("tale", few), ("short", {}), ("tale", few)]
        futures: list[Future[str]] = []
        for count, (model, options) in enumerate(asked, 1):
            futures.append(pool.submit(front.told, model, options=options))
            front.await_waiting(count)
        assert list(lines)[-1]["done"]
        assert [future.result(30) for future in futures] == ["tick tock tick ", "a b", "tick tock tick "]
    assert loads() == ["tale", "short", "tale"]


def test_many_waiters_cause_one_load(tmp_path: Path, pool: ThreadPoolExecutor, loads: Callable[[], list[str]]) -> None:
    with serving(scripted_models(tmp_path, {"m": SLOW})) as (server, front), Watch() as watch:
        futures = [pool.submit(front.told, "m") for _ in range(12)]
        assert _told(futures) == {"a b"}
        assert watch.pids == [runner_pid(server, "m")]
    assert loads() == ["m"]


def test_a_failed_load_is_told_to_all_who_waited(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    script = Script(load_delay=0.5, fault="exit", fault_at=-1)
    with serving(scripted_models(tmp_path, {"m": script})) as (_, front), Watch() as watch:
        replies = [pool.submit(front.ask, "m") for _ in range(6)]
        errors = {(reply.result(30).status_code, reply.result().json()["error"]) for reply in replies}
        assert len(errors) == 1
        [(status, error)] = errors
        assert status == 500
        assert "the script ends it" in error
        assert len(watch.pids) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_who_leaves_while_it_writes_keeps_the_model(tmp_path: Path, engine: str) -> None:
    models = _real(tmp_path, "tale") if engine == "llamacpp" else scripted_models(tmp_path, {"tale": TALE})
    one = {"num_predict": 1, "num_thread": 1, "temperature": 0}
    with serving(models) as (server, front), Watch() as watch:
        with front.stream("tale", keep_alive="10m", options={**one, "num_predict": -1}) as lines:
            first = next(lines)["response"]
            pid = runner_pid(server, "tale")
        front.await_running("tale", 0)
        assert front.ps()["tale"]["state"] == "ready"
        assert front.told("tale", options=one) == first
        assert runner_pid(server, "tale") == pid
        assert watch.pids == [pid]


def test_who_leaves_while_it_loads_keeps_the_model(tmp_path: Path, loads: Callable[[], list[str]]) -> None:
    limits = LimitsConfig(keep_alive=2.0)
    with serving(scripted_models(tmp_path, {"m": SLOW}), limits=limits) as (server, front), Watch() as watch:
        with Raw(front.url).post(model="m"):
            await_true(lambda: front.ps().get("m", {}).get("state") == "loading")
        await_true(lambda: not front.queue())
        await_true(lambda: front.ps()["m"]["state"] == "ready")
        pid = runner_pid(server, "m")
        assert front.told("m") == "a b"
        assert watch.pids == [pid]
        await_true(lambda: not front.ps())
        await_true(lambda: not watch.alive)
    assert loads() == ["m"]


def test_who_leaves_while_it_waits_for_room_takes_nobodys_place(tmp_path: Path) -> None:
    models = scripted_models(tmp_path, {"tale": TALE, "short": SHORT})
    few = {"num_predict": 2}
    with serving(models, residency=_room(1)) as (_, front), Watch() as watch:
        with front.stream("tale") as lines:
            next(lines)
            with Raw(front.url).post(model="short"):
                front.await_waiting(1)
            front.await_waiting(0)
            assert front.told("tale", options=few) == "tick tock "
            assert front.running("tale") == 1, "the other was not let in before the tale was over"
            assert list(lines)[-1]["done"]
        assert set(front.ps()) == {"tale"}
        assert len(watch.pids) == 1


class _Order:
    """The ids of requests in the order in which they ended."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.ids.append(receipt.request_id)


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "loading"])
def test_the_requests_of_one_client_are_served_as_they_came(
    tmp_path: Path, pool: ThreadPoolExecutor, busy: bool
) -> None:
    order, one = _Order(), LimitsConfig(parallel=1)
    script = Script(pieces=["a", " b"], load_delay=0.0 if busy else 1.5, repeat=100_000, delay=0.005)
    models = scripted_models(tmp_path, {"m": script})
    ids = [f"r{number}" for number in range(8)]
    with serving(models, limits=one, plugins=(("order", order),)) as (server, front):

        def ask(id: str) -> int:
            body = {"model": "m", "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
            reply = httpx.post(f"{server.url}/api/generate", json=body, headers={"X-Request-Id": id}, timeout=30)
            return reply.status_code

        def ask_all() -> list[Future[int]]:
            futures: list[Future[int]] = []
            for count, id in enumerate(ids, 1):
                futures.append(pool.submit(ask, id))
                front.await_waiting(count)
            return futures

        if busy:
            with front.stream("m") as lines:
                next(lines)
                futures = ask_all()
        else:
            futures = ask_all()
            assert front.ps()["m"]["state"] == "loading"
        assert {future.result(30) for future in futures} == {200}
    assert [id for id in order.ids if id in ids] == ids


@pytest.mark.parametrize("engine", ENGINES)
def test_many_waiters_share_one_eviction(tmp_path: Path, pool: ThreadPoolExecutor, engine: str) -> None:
    names = ("old", "young", "new")
    scripts = dict.fromkeys(names, SLOW)
    models = _real(tmp_path, *names) if engine == "llamacpp" else scripted_models(tmp_path, scripts)
    options = {"num_predict": 2}
    with serving(models, residency=_room(2)) as (server, front), Watch() as watch:
        alone = {name: front.told(name, options={**options, "temperature": 0}) for name in names[:2]}
        before = {name: runner_pid(server, name) for name in names[:2]}
        futures = [pool.submit(front.told, "new", options=options) for _ in range(8)]
        for future in futures:
            assert future.result(30)
        [kept] = set(front.ps()) - {"new"}
        assert runner_pid(server, kept) == before[kept]
        assert watch.pids == [*before.values(), runner_pid(server, "new")]
        assert front.told(kept, options={**options, "temperature": 0}) == alone[kept]
        assert len(watch.pids) == 3
        assert watch.most == 2


def test_two_names_for_one_file_share_a_process(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    models = scripted_models(tmp_path, {"one": SLOW})
    models["two"] = models["one"]
    with serving(models) as (server, front), Watch() as watch:
        futures = [pool.submit(front.told, name) for name in ("one", "two") * 3]
        assert _told(futures) == {"a b"}
        [name] = front.ps()
        assert watch.pids == [runner_pid(server, name)]
        front.unload("two" if name == "one" else "one")
        assert front.ps() == {}
        await_true(lambda: not watch.alive)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_larger_context_loads_once_for_all_who_want_one(
    tmp_path: Path, pool: ThreadPoolExecutor, engine: str
) -> None:
    real = engine == "llamacpp"
    models = _real(tmp_path, "m") if real else scripted_models(tmp_path, {"m": TALE})
    few = {"num_predict": 2, "num_thread": 1}
    with serving(models, limits=LimitsConfig(context=512, repeat=0)) as (server, front), Watch() as watch:
        with front.stream("m", options={"num_predict": 500 if real else 80, "num_thread": 1}) as lines:
            next(lines)
            small = runner_pid(server, "m")
            futures = [
                pool.submit(front.told, "m", options={**few, "num_ctx": size}) for size in (1024, 2048, 1024, 1500)
            ]
            front.await_waiting(4)
            assert list(lines)[-1]["eval_count"] == (500 if real else 80)
        for future in futures:
            assert future.result(30)
        large = runner_pid(server, "m")
        assert watch.pids == [small, large]
        assert front.ps()["m"]["context_length"] == 2048
        for options in ({}, {"num_ctx": 256}, {"num_ctx": 2048}, {"num_thread": 2}, {"num_batch": 64}):
            front.told("m", options={**few, **options})
        assert front.ps()["m"]["context_length"] == 2048
        assert watch.pids == [small, large]
        assert watch.most == 1


def test_unloading_and_asking_at_once_never_makes_two(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    models = scripted_models(tmp_path, {"m": SHORT})
    end = time.monotonic() + 3
    with serving(models) as (_, front), Watch() as watch:

        def take_turns(number: int) -> int:
            count = 0
            while time.monotonic() < end:
                if (number + count) % 3:
                    assert front.told("m") == "a b"
                else:
                    front.unload("m")
                count += 1
            return count

        counts = [future.result(30) for future in [pool.submit(take_turns, number) for number in range(4)]]
        assert min(counts) >= 2
        assert watch.most == 1
        assert len(watch.pids) >= 2
        front.unload("m")
        await_true(lambda: not watch.alive)
