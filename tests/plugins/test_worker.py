"""The thread of a plugin: asked with a deadline, left behind when it hangs, taken up again when it is back."""

from __future__ import annotations

import gc
import threading
from contextvars import ContextVar

import pytest

from remuda.plugins.worker import Busy, Late, Worker


def test_it_gives_what_is_returned_and_raised_from_one_thread_in_the_callers_context() -> None:
    worker, current = Worker("w"), ContextVar("current", default="")
    current.set("mine")
    threads = {worker.call(threading.get_ident, 10) for _ in range(3)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    assert worker.call(current.get, 10) == "mine"
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0, 10)
    with pytest.raises(RuntimeError, match="it raised SystemExit: 3"):
        worker.call(lambda: exec("raise SystemExit(3)"), 10)
    assert worker.call(lambda: 7, 10) == 7


def test_one_that_hangs_is_left_behind_and_the_next_is_refused_at_once(gate: threading.Event) -> None:
    worker, back = Worker("w"), threading.Event()

    def hang() -> None:
        gate.wait()
        back.set()

    with pytest.raises(Late):
        worker.call(hang, 0.01)
    assert worker.stuck
    with pytest.raises(Busy):
        worker.call(lambda: 7, 60)
    gate.set()
    assert back.wait(10)
    while worker.stuck:  # for the few instructions between
        pass
    assert worker.call(lambda: 7, 10) == 7


def test_its_own_thread_does_not_wait_for_itself() -> None:
    worker = Worker("w")
    assert worker.call(lambda: worker.call(lambda: 7, 10), 10) == 7


def test_the_thread_ends_with_the_worker() -> None:
    worker = Worker("w")
    thread = worker.call(threading.current_thread, 10)
    assert thread.daemon
    del worker
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
