"""What follows when an attempt fails before an answer has begun, and after."""

from __future__ import annotations

import logging
import re

import pytest
from pooling import Pools, broke, listed, ps, refused, slow, upstreams, wanted

from remuda.errors import (
    BadRequest,
    EngineError,
    NotFound,
    RateLimited,
    RemudaError,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
)
from remuda_remote.faults import Fault

pytestmark = pytest.mark.anyio


def trio(**settings: object) -> Pools:
    return Pools({"upstreams": upstreams("a", "b", "c"), **settings}, a=["m"], b=["m"], c=["m"])


def alone(**settings: object) -> Pools:
    return Pools({"upstreams": upstreams("a"), **settings}, a=["m"])


async def raised(pools: Pools, *outcomes: Exception, **want: object) -> RemudaError:
    with pytest.raises(RemudaError) as caught:
        await pools.run(wanted(**want), *outcomes)
    assert set(pools.running.values()) == {0}
    return caught.value


async def test_those_in_turn_serve_in_turn() -> None:
    pools = trio()
    assert [await pools.once(wanted()) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


async def test_turns_go_by_weight() -> None:
    table = upstreams("a", weight=3) | upstreams("b")
    pools = Pools({"upstreams": table}, a=["m"], b=["m"])
    served = [await pools.once(wanted()) for _ in range(8)]
    assert (served.count("a"), served.count("b")) == (6, 2)


async def test_nobody_saves_up_turns() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m", "n"], b=["m"])
    assert [await pools.once(wanted("n")) for _ in range(5)] == ["a"] * 5
    assert [await pools.once(wanted()) for _ in range(4)] == ["b", "a", "b", "a"]


async def test_another_one_is_asked_when_the_first_breaks_off() -> None:
    pools = trio()
    assert await pools.once(wanted(), broke("a"), refused(500), None) == "c"
    assert pools.attempts == ["a:m", "b:m", "c:m"]
    assert [pools[name].breaker.row for name in "abc"] == [1, 0, 0]
    assert [(pools[name].requests, pools[name].failures) for name in "abc"] == [(1, 1), (1, 1), (1, 0)]


async def test_a_model_that_always_fails_is_left_alone_and_nothing_else() -> None:
    """What a model's own failure says nothing about: the other models of a server that answers."""
    pools = Pools({"upstreams": upstreams("a")}, a=["m", "n"])
    for _ in range(4):
        await raised(pools, refused(500, "out of luck"))
    assert await pools.once(wanted(), None) == "a"  # which forgives
    for number in range(5):
        assert await pools.once(wanted("n"), None) == "a"
        assert isinstance(await raised(pools, refused(500, "out of luck")), EngineError), number
    error = await raised(pools)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 10
    assert "failed 5 requests for this model in a row" in error.message
    assert await pools.once(wanted("n"), None) == "a"
    pools.time.now += 10.5
    await raised(pools, refused(500, "out of luck"))
    error = await raised(pools)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 10
    pools.time.now += 10.5
    assert await pools.once(wanted(), None) == "a"


async def test_no_more_than_so_many_are_asked_and_the_last_failure_is_told() -> None:
    pools = trio(remote={"attempts": 2})
    error = await raised(pools, broke("a"), refused(500, "out of luck"))
    assert isinstance(error, EngineError)
    assert error.message == "out of luck"
    assert isinstance(error.__cause__, Fault)
    assert pools.attempts == ["a:m", "b:m"]


async def test_each_is_asked_once() -> None:
    pools = Pools({"upstreams": upstreams("a", "b"), "remote": {"attempts": 9}}, a=["m"], b=["m"])
    assert isinstance(await raised(pools, broke("a"), broke("b")), UpstreamError)
    assert pools.attempts == ["a:m", "b:m"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (slow(), UpstreamTimeout),
        (refused(400), BadRequest),
        (refused(401), UpstreamError),
        (refused(501), UpstreamError),
    ],
)
async def test_what_another_one_would_answer_too_is_told_at_once(fault: Exception, kind: type[RemudaError]) -> None:
    pools = trio()
    assert isinstance(await raised(pools, fault), kind)
    assert len(pools.attempts) == 1


async def test_what_an_attempt_raises_besides_faults_passes_and_says_nothing_about_health() -> None:
    pools = trio(remote={"failures": 1})
    with pytest.raises(BadRequest, match="cannot do"):
        await pools.run(wanted(), BadRequest("upstream 'a' cannot do raw"))
    with pytest.raises(ZeroDivisionError):
        await pools.run(wanted(), ZeroDivisionError())
    assert {upstream.breaker.row for upstream in pools.pool.upstreams} == {0}
    assert set(pools.running.values()) == {0}


async def test_an_answer_that_has_begun_goes_nowhere_else_and_its_end_counts() -> None:
    pools = trio(remote={"failures": 1})
    lease = await pools.run(wanted())
    assert (lease.upstream.name, str(lease.offer.name), lease.offer.there) == ("a", "m:latest", "m")
    assert pools.running == {"a": 1, "b": 0, "c": 0}
    lease.failed(broke("a"))
    await lease.aclose()
    await lease.aclose()
    assert lease.value.closed == 1
    assert pools["a"].breaker.health(pools.time.now) == "down"
    assert pools.attempts == ["a:m"]
    assert pools.running == {"a": 0, "b": 0, "c": 0}


async def test_a_value_that_cannot_be_closed_still_gives_its_place_back() -> None:
    pools = alone()

    class Bad:
        async def aclose(self) -> None:
            raise OSError("no")

    async def attempt(*_: object) -> Bad:
        return Bad()

    lease = await pools.pool.run(wanted(), attempt)
    with pytest.raises(OSError, match="no"):
        await lease.aclose()
    assert pools.running == {"a": 0}


async def test_one_that_failed_five_times_is_left_alone_tried_by_one_request_and_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pools = alone()
    with caplog.at_level(logging.INFO, "remuda.remote"):
        for _ in range(5):
            assert isinstance(await raised(pools, broke("a")), UpstreamError)
        pools.time.now += 2.5
        error = await raised(pools)
        assert isinstance(error, Unavailable)
        assert error.retry_after == 8
        assert error.message == (
            "no upstream can serve model 'm:latest' now: 'a' is left alone after 5 failures (its last: broke off); "
            "the next try is in 8 s"
        )
        assert len(pools.attempts) == 5
        pools.time.now += 7.5
        assert pools["a"].state(pools.time.now) == "trying"
        lease = await pools.run(wanted())
        assert pools["a"].state(pools.time.now) == "up"
        await lease.aclose()
    assert [re.sub(r";.*", "", record.getMessage()) for record in caplog.records] == [
        "upstream 'a' is left alone for 10 s after 5 failures in a row",
        "upstream 'a' is back",
    ]
    assert pools["a"].error == ""


async def test_while_one_request_tries_it_others_go_elsewhere_or_are_refused() -> None:
    pools = Pools({"upstreams": upstreams("a", "b"), "remote": {"failures": 1}}, a=["m", "n"], b=["m"])
    assert isinstance(await raised(pools, broke("a"), name="n"), UpstreamError)
    pools.time.now += 10.0

    async def others() -> None:
        assert await pools.once(wanted("m")) == "b"
        error = await raised_now("n")
        assert isinstance(error, Unavailable)
        assert "'a' is being tried again" in error.message
        assert error.retry_after == 1

    async def raised_now(name: str) -> RemudaError:
        with pytest.raises(RemudaError) as caught:
            await pools.run(wanted(name))
        return caught.value

    assert await pools.once(wanted("n"), others) == "a"


async def test_a_trial_that_fails_falls_over_like_any_attempt_and_waits_twice_as_long() -> None:
    pools = Pools({"upstreams": upstreams("a", "b"), "remote": {"failures": 1}}, a=["m"], b=["m"])
    assert await pools.once(wanted(), broke("a")) == "b"
    assert [await pools.once(wanted()) for _ in range(3)] == ["b", "b", "b"]
    pools.time.now += 10.0
    assert await pools.once(wanted(), broke("a")) == "b"
    assert pools["a"].breaker.wait(pools.time.now) == 20.0


async def test_retry_after_is_obeyed_for_that_model_there() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m", "n"], b=["m"])
    assert await pools.once(wanted(), refused(429, "slow down", "7")) == "b"
    assert [await pools.once(wanted()) for _ in range(3)] == ["b", "b", "b"]
    assert await pools.once(wanted("n")) == "a"
    assert pools["a"].breaker.row == 0
    pools.time.now += 7.0
    assert "a" in {await pools.once(wanted()) for _ in range(2)}


async def test_while_all_are_paused_the_refusal_is_told_again_with_the_seconds_that_remain() -> None:
    pools = alone()
    first = await raised(pools, refused(429, "slow down", "7"))
    assert isinstance(first, RateLimited)
    assert (first.message, first.retry_after) == ("slow down", 7)
    pools.time.now += 4.5
    again = await raised(pools)
    assert isinstance(again, RateLimited)
    assert (again.message, again.retry_after) == ("slow down", 3)
    assert again.__cause__ is None
    assert len(pools.attempts) == 1
    pools.time.now += 2.5
    assert await pools.once(wanted()) == "a"


async def test_a_missing_model_everywhere_is_the_upstreams_own_words() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m"], b=["m"])
    error = await raised(pools, refused(404, "model 'm' not found"), refused(404, "model 'm' not found, try pulling"))
    assert isinstance(error, NotFound)
    assert error.message == "model 'm' not found, try pulling"


async def test_the_same_conversation_goes_where_its_beginning_was() -> None:
    pools = trio()
    talk = b"You are a helpful assistant. " * 30
    assert await pools.once(wanted(prefix=talk)) == "a"
    assert [await pools.once(wanted(prefix=talk + b"more" * n)) for n in range(4)] == ["a"] * 4
    assert await pools.once(wanted(prefix=talk), broke("a"), None) == "b"
    assert await pools.once(wanted(prefix=talk + b"!")) == "b"


async def test_without_affinity_it_goes_wherever_it_is_quiet() -> None:
    pools = trio(remote={"affinity": False})
    talk = b"You are a helpful assistant. " * 30
    assert {await pools.once(wanted(prefix=talk)) for _ in range(3)} == {"a", "b", "c"}


async def test_a_model_in_memory_is_preferred() -> None:
    pools = trio()
    for name, memory in (("a", []), ("b", [ps("m")]), ("c", [])):
        pools[name].learn([listed("m")], memory)
    assert [await pools.once(wanted()) for _ in range(3)] == ["b", "b", "b"]


async def test_whoever_served_a_model_has_it_in_memory_until_it_says_otherwise() -> None:
    pools = trio()
    for name in "abc":
        pools[name].learn([listed("m")], [])
    assert [await pools.once(wanted()) for _ in range(3)] == ["a", "a", "a"]
    pools["a"].learn([listed("m")], [])
    assert [await pools.once(wanted()) for _ in range(3)] == ["b", "b", "b"]
