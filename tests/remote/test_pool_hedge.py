"""A second upstream is asked where the first one takes long, and the first answer wins."""

from __future__ import annotations

import asyncio

import pytest
from pooling import Answer, Pools, broke, refused, slow, spin, upstreams, wanted

from remuda.errors import BadRequest, UpstreamError, UpstreamTimeout

pytestmark = pytest.mark.anyio

EVER = 3600.0
"""Long enough that nothing in a test takes it."""


def pair(hedge: float = 1e-6, **settings: object) -> Pools:
    return Pools({"upstreams": upstreams("a", "b", **settings), "remote": {"hedge": hedge}}, a=["m"], b=["m"])


async def never() -> None:
    await asyncio.Event().wait()


def idle(pools: Pools) -> bool:
    return set(pools.running.values()) == {0}


async def test_the_second_wins_and_the_first_is_cancelled_without_blame() -> None:
    pools = pair()
    cancelled = asyncio.Event()

    async def first() -> None:
        try:
            await never()
        finally:
            cancelled.set()

    lease = await pools.run(wanted(), first, None)
    assert lease.upstream.name == "b"
    await asyncio.wait_for(cancelled.wait(), 5)
    await spin()
    assert pools.running == {"a": 0, "b": 1}
    await lease.aclose()
    assert idle(pools)
    assert [pools[name].breaker.row for name in "ab"] == [0, 0]


async def test_a_loser_that_fails_because_it_was_cancelled_is_not_blamed() -> None:
    pools = pair()

    async def first() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            raise broke("a") from None

    assert await pools.once(wanted(), first, None) == "b"
    await spin()
    assert idle(pools)
    assert (pools["a"].breaker.row, pools["a"].failures) == (0, 0)


async def test_the_first_wins_after_all() -> None:
    pools = pair()
    second_began = asyncio.Event()

    async def second() -> None:
        second_began.set()
        await never()

    assert await pools.once(wanted(), second_began.wait, second) == "a"
    await spin()
    assert pools.attempts == ["a:m", "b:m"]
    assert idle(pools)


async def test_two_answers_at_once_are_one_and_the_other_is_closed() -> None:
    pools = pair()
    both, answers = asyncio.Barrier(2), list[Answer]()

    async def attempt(upstream: object, there: str) -> Answer:
        answers.append(answer := Answer(there))
        await both.wait()
        return answer

    lease = await pools.pool.run(wanted(), attempt)
    await spin()
    assert sorted(answer.closed for answer in answers) == [0, 1]
    assert not lease.value.closed
    await lease.aclose()
    assert idle(pools)


async def test_a_loser_that_cannot_be_stopped_is_closed_when_it_comes() -> None:
    pools = pair()
    stubborn, late = asyncio.Event(), Answer("late")

    async def attempt(upstream: object, there: str) -> Answer:
        if len(pools.attempts) == 0:
            pools.attempts.append("first")
            while not stubborn.is_set():
                try:
                    await stubborn.wait()
                except asyncio.CancelledError:
                    continue
            return late
        return Answer("second")

    lease = await pools.pool.run(wanted(), attempt)
    assert lease.value.upstream == "second"
    assert pools["a"].running == 1
    stubborn.set()
    await spin()
    assert late.closed == 1
    await lease.aclose()
    assert idle(pools)


async def test_a_quick_failure_falls_over_as_usual() -> None:
    pools = pair(EVER)
    assert await pools.once(wanted(), broke("a"), None) == "b"
    assert pools["a"].breaker.row == 1


async def test_one_that_fails_leaves_it_to_the_other() -> None:
    pools = pair()
    failed = asyncio.Event()

    async def first() -> None:
        await failed.wait()
        raise slow("a")

    async def second() -> None:
        failed.set()
        await spin()

    assert await pools.once(wanted(), first, second) == "b"
    assert pools["a"].breaker.row == 1
    assert idle(pools)


async def test_when_both_fail_the_last_failure_is_told() -> None:
    pools = pair()
    begun = asyncio.Event()

    async def first() -> None:
        await begun.wait()
        raise broke("a")

    async def second() -> None:
        begun.set()
        await spin()
        raise slow("b")

    with pytest.raises(UpstreamTimeout, match="upstream 'b'"):
        await pools.run(wanted(), first, second)
    assert pools.attempts == ["a:m", "b:m"]
    assert idle(pools)


async def test_an_error_that_is_no_fault_ends_both() -> None:
    pools = pair()
    begun = asyncio.Event()

    async def first() -> None:
        await begun.wait()
        raise BadRequest("upstream 'a' cannot do raw")

    async def second() -> None:
        begun.set()
        await never()

    with pytest.raises(BadRequest, match="cannot do raw"):
        await pools.run(wanted(), first, second)
    await spin()
    assert idle(pools)


@pytest.mark.parametrize("full", [True, False])
async def test_without_a_second_place_the_first_is_waited_for(full: bool) -> None:
    pools = pair(parallel=1)
    others = [await pools.run(wanted(asked=("b",)))] if full else []
    if not full:
        pools["b"].pause(wanted().name, pools.time.now + 9, refused(503))
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, late.set)
    assert await pools.once(wanted(), late.wait) == "a"
    for lease in others:
        await lease.aclose()


async def test_a_second_one_that_has_left_the_configuration_is_not_asked() -> None:
    pools, late = pair(0.005), asyncio.Event()

    async def first() -> None:
        pools.configure({"upstreams": upstreams("a"), "remote": {"hedge": 0.005}})
        asyncio.get_running_loop().call_later(0.02, late.set)
        await late.wait()

    assert await pools.once(wanted(), first) == "a"
    assert pools.attempts == ["a:m"]


async def test_whoever_leaves_cancels_both() -> None:
    pools = pair()
    begun = asyncio.Event()

    async def second() -> None:
        begun.set()
        await never()

    task = asyncio.create_task(pools.run(wanted(), never, second))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await spin()
    assert idle(pools)
    assert [pools[name].breaker.row for name in "ab"] == [0, 0]


async def test_an_answer_that_comes_when_nobody_is_left_is_closed() -> None:
    pools = pair(EVER)
    task = asyncio.create_task(pools.run(wanted()))
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    await spin()
    assert (pools.attempts, idle(pools)) == (["a:m"], True)


async def test_an_attempt_that_is_cancelled_before_it_began_gives_its_place_back() -> None:
    pools = pair(EVER)
    before = asyncio.all_tasks()
    task = asyncio.create_task(pools.run(wanted()))

    def cancel() -> None:
        for other in asyncio.all_tasks() - before:
            other.cancel()

    asyncio.get_running_loop().call_soon(cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    await spin()
    assert (pools.attempts, idle(pools)) == ([], True)


async def test_it_asks_no_more_than_the_attempts_allowed() -> None:
    settings = {"upstreams": upstreams("a", "b", "c"), "remote": {"hedge": 1e-6, "attempts": 2}}
    pools = Pools(settings, a=["m"], b=["m"], c=["m"])
    begun = asyncio.Event()

    async def first() -> None:
        await begun.wait()
        raise broke("a")

    async def second() -> None:
        begun.set()
        raise broke("b")

    with pytest.raises(UpstreamError):
        await pools.run(wanted(), first, second, None)
    assert pools.attempts == ["a:m", "b:m"]
