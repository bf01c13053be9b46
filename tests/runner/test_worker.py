from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from answering import MEMORY, Answer, Question

from remuda.errors import EngineError
from remuda.runner.worker import Worker, WorkerEnded, WorkerLate

pytestmark = pytest.mark.anyio

SUPPORT = Path(__file__).parents[1] / "support"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
async def worker(no_blocking: None, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Worker[Answer], None]:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    worker = Worker("answering", Question("first"), Answer)
    yield worker
    await worker.close()


async def pid_of(worker: Worker[Answer]) -> int:
    return (await worker.ask(Question("pid"), timeout=20)).pid


async def test_questions_are_answered_by_one_child(worker: Worker[Answer]) -> None:
    first = await worker.ask(Question("a"), timeout=20)
    second = await worker.ask(Question("b", 3), timeout=20)
    assert (first.text, second.text) == ("a", "bbb")
    assert first.pid == second.pid != os.getpid()


async def test_a_long_answer_comes_whole(worker: Worker[Answer]) -> None:
    answer = await worker.ask(Question("x", 5_000_000), timeout=20)
    assert answer.text == "x" * 5_000_000


@pytest.mark.parametrize("question", [Question("loop"), Question("sleep", 3600)], ids=["loop", "sleep"])
async def test_one_that_is_late_is_killed_and_the_next_is_answered_by_another(
    worker: Worker[Answer], question: Question
) -> None:
    before = await pid_of(worker)
    with pytest.raises(WorkerLate):
        await worker.ask(question, timeout=0.2)
    assert not alive(before)
    assert await pid_of(worker) != before


@pytest.mark.parametrize(
    "question",
    [
        Question("allocate", 2 * MEMORY),
        Question("exit", 3),
        Question("exit", 0),
        Question("raise"),
        Question("nonsense"),
    ],
    ids=["memory", "exit 3", "exit 0", "raise", "nonsense"],
)
async def test_one_that_ends_its_child_takes_no_other_along(worker: Worker[Answer], question: Question) -> None:
    before = await pid_of(worker)
    bad, good = await asyncio.gather(
        worker.ask(question, timeout=20), worker.ask(Question("after"), timeout=20), return_exceptions=True
    )
    assert isinstance(bad, WorkerEnded)
    assert isinstance(good, Answer)
    assert good.text == "after"
    assert good.pid != before
    assert not alive(before)


async def test_what_fits_into_the_memory_is_answered(worker: Worker[Answer]) -> None:
    assert (await worker.ask(Question("allocate", MEMORY // 4), timeout=20)).text == str(MEMORY // 4)


async def test_questions_wait_for_their_turn_and_the_deadline_for_the_question(worker: Worker[Answer]) -> None:
    await pid_of(worker)
    slow = asyncio.create_task(worker.ask(Question("sleep", 1), timeout=20))
    await asyncio.sleep(0)
    # It waits longer for its turn than it may take itself.
    quick = await worker.ask(Question("quick"), timeout=0.9)
    assert slow.done()
    assert quick.text == "quick"


async def test_a_question_that_is_cancelled_gives_its_answer_to_nobody(worker: Worker[Answer]) -> None:
    before = await pid_of(worker)
    left = asyncio.create_task(worker.ask(Question("sleep", 3600), timeout=20))
    waiting = asyncio.create_task(worker.ask(Question("waiting"), timeout=20))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert (await waiting).text == "waiting"
    assert not alive(before)


async def test_a_child_that_died_between_two_questions_is_replaced(worker: Worker[Answer]) -> None:
    before = await pid_of(worker)
    os.kill(before, signal.SIGKILL)
    assert worker._link is not None
    while worker._link.child.connected:
        await asyncio.sleep(0.01)
    assert await pid_of(worker) != before


async def test_a_child_that_writes_much_to_its_stderr_does_not_stop(worker: Worker[Answer]) -> None:
    assert (await worker.ask(Question("noise", 100_000), timeout=20)).pid


async def test_closing_ends_the_child_and_what_it_was_asked(worker: Worker[Answer]) -> None:
    pid = await pid_of(worker)
    asked = [asyncio.create_task(worker.ask(Question("sleep", 3600), timeout=20)) for _ in range(2)]
    await asyncio.sleep(0)
    await worker.close()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [EngineError, EngineError], "neither is the question's fault"
    assert not alive(pid)
    with pytest.raises(EngineError, match="was closed"):
        await worker.ask(Question("late"), timeout=1)


async def test_a_module_that_cannot_run_is_an_error_of_ours() -> None:
    worker = Worker("remuda.there_is_no_such_module", Question("first"), Answer)
    with pytest.raises(EngineError, match=r"did not start: .*there_is_no_such_module"):
        await worker.ask(Question("a"), timeout=1)
    await worker.close()


async def test_a_question_that_cannot_be_written_disturbs_no_child(worker: Worker[Answer]) -> None:
    before = await pid_of(worker)
    with pytest.raises((OverflowError, msgspec.MsgspecError)):
        await worker.ask(Question("a", 2**70), timeout=20)
    assert await pid_of(worker) == before


async def test_nothing_is_left_behind(worker: Worker[Answer]) -> None:
    before = asyncio.all_tasks()
    await pid_of(worker)
    with pytest.raises(WorkerLate):
        await worker.ask(Question("loop"), timeout=0.1)
    await worker.close()
    gc.collect()  # an unclosed transport or an exception nobody read would be a warning, and so an error
    assert asyncio.all_tasks() == before
