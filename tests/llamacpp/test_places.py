"""Where compute threads run."""

from __future__ import annotations

import os
import threading

import pytest

from remuda import LoadSpec
from remuda.wire import Options
from remuda_llamacpp import _native
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.saved.writer import Job, Writer
from remuda_llamacpp.threads.places import Places

EVERYWHERE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
CORES = len(EVERYWHERE)

pytestmark = pytest.mark.skipif(CORES < 2 or _native.each_thread() is None, reason="there is nothing to place")


def found(threads: int) -> list[set[int]]:
    """Where each of so many compute threads may run."""
    where: dict[int, set[int]] = {}

    def look(thread: int) -> None:
        where[thread] = os.sched_getaffinity(0)

    each = _native.each_thread()
    assert each is not None
    each(threads, look)
    return [where[thread] for thread in range(threads)]


def test_as_many_threads_as_cores_have_one_each():
    places = Places()
    places.take(CORES)
    assert found(CORES) == [{core} for core in sorted(EVERYWHERE)]


def test_fewer_run_where_they_like():
    places = Places()
    places.take(1)
    assert found(1) == [EVERYWHERE]
    places.take(CORES)
    places.take(1)
    assert found(1) == [EVERYWHERE]
    places.take(CORES)
    assert found(CORES) == [{core} for core in sorted(EVERYWHERE)]


def test_whoever_computes_no_more_leaves_its_place():
    places = Places()
    places.take(CORES)
    places.leave()
    assert os.sched_getaffinity(0) == EVERYWHERE
    places.take(CORES)
    assert found(CORES) == [{core} for core in sorted(EVERYWHERE)]


@pytest.mark.parametrize("name", ["OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"])
def test_whoever_has_decided_is_obeyed(monkeypatch, name):
    monkeypatch.setenv(name, "false")
    Places().take(CORES)
    assert found(1) == [EVERYWHERE]


def test_a_core_that_was_taken_away_is_no_failure(monkeypatch):
    def gone(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sched_setaffinity", gone)
    Places().take(CORES)
    monkeypatch.undo()
    assert found(1) == [EVERYWHERE]


def test_a_thread_that_is_started_by_one_with_a_place_has_none():
    where: list[set[int]] = []
    written = threading.Event()

    def write(_: Job) -> None:
        where.append(os.sched_getaffinity(0))
        written.set()

    Places().take(CORES)
    writer = Writer(write, 1)
    assert writer.put(Job("name", b"", b"", None, []))  # type: ignore[arg-type]
    assert written.wait(30)
    writer.close(30)
    assert where == [EVERYWHERE]


def test_an_engine_takes_its_places_and_leaves_them(weights, drive):
    options = Options(num_thread=CORES, temperature=0.0, num_predict=2)
    spec = LoadSpec(
        name="placed", weights=str(weights), context=64, parallel=1, options=options, settings={"prefix_disk": False}
    )
    engine = LlamaEngine.load(spec)
    assert os.sched_getaffinity(0) == EVERYWHERE
    driver = drive(engine)
    driver.submit(1, "Once upon a time", most=2)
    driver.step()
    assert os.sched_getaffinity(0) == {min(EVERYWHERE)}
    engine.close()
    assert os.sched_getaffinity(0) == EVERYWHERE
