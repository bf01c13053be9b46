"""Models that block: in a thread, read as they write, and stopped when nobody reads any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing

import httpx
import pytest

from remuda.testing import LiveServer
from remuda_llm.threads import threaded

from .fakes import Counting, Registers

AHEAD = 16
SECONDS = 10.0


def test_the_work_stops_when_the_client_leaves(
    serve: Callable[..., LiveServer], installed: Callable[[object], None]
) -> None:
    model = Counting()
    installed(Registers(model))
    server = serve()
    asked = {"model": "counting", "prompt": "count"}
    with httpx.stream("POST", server.url + "/api/generate", json=asked) as reply:
        assert '"response":"1 "' in next(reply.iter_lines())
    assert model.closed.wait(SECONDS)
    assert model.threads == {"remuda-llm"}


def test_it_is_cut_where_it_was_told_to_end(
    serve: Callable[..., LiveServer], installed: Callable[[object], None]
) -> None:
    model = Counting()
    installed(Registers(model))
    asked = {"model": "counting", "prompt": "count", "stream": False, "options": {"num_predict": 3}}
    reply = httpx.post(serve().url + "/api/generate", json=asked).json()
    assert (reply["response"], reply["done_reason"], reply["eval_count"]) == ("1 2 3 ", "length", 3)
    assert model.closed.wait(SECONDS)


@pytest.mark.anyio
async def test_a_slow_reader_is_waited_for() -> None:
    made: list[int] = []
    full = threading.Event()

    def count() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            if number == AHEAD + 1:
                full.set()
            yield number

    async with aclosing(threaded(count)) as items:
        assert await anext(items) == 0
        assert await asyncio.to_thread(full.wait, SECONDS)
        assert len(made) == AHEAD + 2
        assert [await anext(items) for _ in range(3)] == [1, 2, 3]
    assert len(made) < 1000


@pytest.mark.anyio
async def test_what_it_raises_comes_after_what_it_said() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("late")

    items = threaded(fail)
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="late"):
        await anext(items)


@pytest.mark.anyio
async def test_those_that_share_a_turn_come_one_after_the_other() -> None:
    turn = threading.Lock()
    inside: list[int] = []

    def enter() -> Iterator[int]:
        inside.append(1)
        yield len(inside)
        inside.pop()

    async def read() -> list[int]:
        return [item async for item in threaded(enter, turn)]

    assert await asyncio.gather(*(read() for _ in range(8))) == [[1]] * 8
