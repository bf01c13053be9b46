"""Places at upstreams: who gets one, who waits, and that none is ever lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pooling import Answer, Pools, broke, listed, refused, slow, spin, upstreams, wanted

from remuda.errors import BadRequest, Draining, RemudaError, ServerBusy, Unavailable, UpstreamError, WaitedTooLong
from remuda.remote import Wanted
from remuda_remote.places import _fits
from remuda_remote.pool import Lease

pytestmark = pytest.mark.anyio


def one(parallel: int = 1, **settings: Any) -> Pools:
    return Pools({"upstreams": upstreams("a", parallel=parallel), **settings}, a=["m", "n"])


class Requests:
    """Requests by names, each until it has its answer; `served` in the order in which they got there."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[Lease[Answer]]] = {}

    async def begin(self, name: str, want: Wanted | None = None, *outcomes: Any) -> None:
        async def run() -> Lease[Answer]:
            lease = await self.pools.run(want or wanted(), *outcomes)
            self.served.append(name)
            return lease

        self.tasks[name] = asyncio.create_task(run())
        await spin()

    async def end(self, name: str) -> None:
        await (await asyncio.wait_for(self.tasks.pop(name), 5)).aclose()
        await spin()

    async def end_all(self) -> None:
        while self.tasks:
            await self.end(next(name for name in self.served if name in self.tasks))

    async def cancel(self, name: str) -> None:
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.wait((task,))
        await spin()

    async def error(self, name: str) -> RemudaError:
        with pytest.raises(RemudaError) as caught:
            await asyncio.wait_for(self.tasks.pop(name), 5)
        return caught.value

    def waiting(self) -> int:
        return self.pools.pool.waiting(self.pools["a"])


async def test_one_place_is_given_on_in_the_order_of_arrival() -> None:
    requests = Requests(one())
    for name in ("1", "2", "3"):
        await requests.begin(name)
    assert (requests.served, requests.waiting()) == (["1"], 2)
    await requests.end("1")
    assert (requests.served, requests.waiting()) == (["1", "2"], 1)
    await requests.end("2")
    await requests.end("3")
    assert requests.pools.running == {"a": 0}


async def test_turns_are_fair_between_addresses_and_go_by_priority() -> None:
    requests = Requests(one())
    for name in ("x1", "x2", "x3", "x4"):
        await requests.begin(name, wanted(client="x"))
    await requests.begin("y1", wanted(client="y"))
    await requests.begin("x!", wanted(client="x", priority=1))
    for name in ("x1", "x!", "y1", "x2", "x3", "x4"):
        await requests.end(name)
    assert requests.served == ["x1", "x!", "y1", "x2", "x3", "x4"]


async def test_a_free_place_is_not_held_up_by_an_older_request_of_the_same_client_for_another_upstream() -> None:
    pools = Pools({"upstreams": upstreams("a", "b", parallel=1)}, a=["m"], b=["n"])
    requests = Requests(pools)
    await requests.begin("m1", wanted("m"))
    await requests.begin("n1", wanted("n"))
    await requests.begin("m2", wanted("m"))
    await requests.begin("n2", wanted("n"))
    await requests.end("n1")
    assert requests.served == ["m1", "n1", "n2"]
    for name in ("m1", "m2", "n2"):
        await requests.end(name)


async def test_whoever_waits_takes_the_first_place_that_suits() -> None:
    pools = Pools({"upstreams": upstreams("a", "b", parallel=1)}, a=["m"], b=["m"])
    requests = Requests(pools)
    for name in ("1", "2", "3"):
        await requests.begin(name)
    assert [pools.pool.waiting(pools[name]) for name in "ab"] == [1, 1]
    await requests.end("2")
    assert pools.attempts == ["a:m", "b:m", "b:m"]
    await requests.end("1")
    await requests.end("3")


async def test_the_queue_is_bounded_for_each_model() -> None:
    requests = Requests(one(limits={"queue": 2}))
    for name in ("1", "2", "3"):
        await requests.begin(name)
    began = time.perf_counter()
    await requests.begin("4")
    assert time.perf_counter() - began < 0.05
    assert isinstance(await requests.error("4"), ServerBusy)
    await requests.begin("n", wanted("n"))
    assert requests.waiting() == 3
    await requests.end_all()
    assert sorted(requests.served) == ["1", "2", "3", "n"]


async def test_somebody_with_much_less_in_a_full_queue_takes_the_place_of_the_latest() -> None:
    requests = Requests(one(limits={"queue": 3}))
    for name in ("x1", "x2", "x3", "x4"):
        await requests.begin(name, wanted(client="x"))
    await requests.begin("y", wanted(client="y"))
    assert isinstance(await requests.error("x4"), ServerBusy)
    await requests.end_all()
    assert requests.served == ["x1", "x2", "y", "x3"]


async def test_nobody_waits_longer_than_allowed() -> None:
    settings = {"upstreams": upstreams("a", parallel=1), "limits": {"queue_timeout": 0.03}}
    pools = Pools(settings, clock=time.monotonic, a=["m"])
    requests = Requests(pools)
    await requests.begin("1")
    await requests.begin("2")
    assert isinstance(await requests.error("2"), WaitedTooLong)
    await requests.end("1")
    assert pools.running == {"a": 0}


async def test_whoever_waits_is_told_when_the_upstream_goes_down() -> None:
    requests = Requests(one(remote={"failures": 1}))
    for name in ("1", "2", "3"):
        await requests.begin(name)
    (await requests.tasks["1"]).failed(broke())
    await requests.end("1")
    for name in ("2", "3"):
        assert "is left alone after 1 failure (" in (await requests.error(name)).message
    assert requests.pools.running == {"a": 0}


async def test_whoever_waits_is_told_when_the_upstream_wants_no_more() -> None:
    requests = Requests(one(parallel=2))
    hold = asyncio.Event()

    async def busy() -> None:
        await hold.wait()
        raise refused(503, "busy", "9")

    await requests.begin("1")
    await requests.begin("2", None, busy)
    await requests.begin("3")
    hold.set()
    for name in ("2", "3"):
        error = await requests.error(name)
        assert isinstance(error, Unavailable)
        assert (error.message, error.retry_after) == ("busy", 9)
    await requests.end("1")


async def test_a_pause_and_a_cooldown_that_end_wake_those_who_wait() -> None:
    settings = {"upstreams": upstreams("a", "b", parallel=1), "remote": {"failures": 1, "cooldown": 0.05}}
    pools = Pools(settings, clock=time.monotonic, a=["m"], b=["m"])
    requests = Requests(pools)
    await requests.begin("paused", None, refused(429, after="0.05"))
    await requests.begin("waits")
    assert (requests.served, pools.pool.waiting(pools["b"])) == (["paused"], 1)
    await asyncio.wait_for(asyncio.shield(requests.tasks["waits"]), 5)
    await requests.end("waits")
    (await requests.tasks["paused"]).failed(broke("b"))
    await requests.end("paused")
    assert pools["b"].breaker.health(time.monotonic()) == "down"
    await requests.begin("a")
    await requests.begin("waits")
    lease = await asyncio.wait_for(asyncio.shield(requests.tasks["waits"]), 5)
    assert lease.upstream.name == "b"
    await requests.end_all()


async def test_a_trial_that_begins_well_opens_the_other_places_to_those_who_wait() -> None:
    table = upstreams("a", parallel=1) | upstreams("b", parallel=2)
    pools = Pools({"upstreams": table, "remote": {"failures": 1}}, a=["m"], b=["m"])
    requests, begin = Requests(pools), asyncio.Event()
    await requests.begin("1")
    await requests.begin("bad", wanted(asked=("b",)), broke("b"))
    assert isinstance(await requests.error("bad"), UpstreamError)
    pools.time.now += 10
    await requests.begin("trial", None, begin.wait)
    await requests.begin("2")
    assert requests.served == ["1"]
    begin.set()
    await spin()
    assert requests.served == ["1", "trial", "2"]
    await requests.end_all()


async def test_one_who_leaves_the_queue_and_one_who_leaves_just_when_it_has_a_place() -> None:
    requests = Requests(one())
    for name in ("1", "2", "3", "4"):
        await requests.begin(name)
    await requests.cancel("2")
    assert requests.waiting() == 2
    lease = await requests.tasks.pop("1")
    await lease.aclose()  # 3 has the place now, and does not know it yet
    requests.tasks["3"].cancel()
    await spin()
    assert requests.served == ["1", "4"]
    with pytest.raises(asyncio.CancelledError):
        await requests.tasks.pop("3")
    await requests.end("4")
    assert requests.pools.running == {"a": 0}


async def test_one_who_leaves_during_the_attempt_gives_its_place_and_its_trial_back() -> None:
    requests = Requests(one(remote={"failures": 1}))
    await requests.begin("bad", None, broke())
    assert isinstance(await requests.error("bad"), UpstreamError)
    requests.pools.time.now += 10
    await requests.begin("1", None, asyncio.Event().wait)
    await requests.begin("2")
    assert "is being tried again" in (await requests.error("2")).message
    await requests.cancel("1")
    await requests.begin("3")
    await requests.end("3")
    assert requests.pools["a"].breaker.health(requests.pools.time.now) == "up"


async def test_a_pool_that_closes_refuses_those_who_wait() -> None:
    requests = Requests(one())
    await requests.begin("1")
    await requests.begin("2")
    await requests.pools.pool.close()
    assert isinstance(await requests.error("2"), Draining)
    assert requests.pools.servers["a"].closed
    await requests.end("1")


# --- whatever happens

_FAULTS = {
    "broke": broke,
    "slow": slow,
    "busy": lambda: refused(503, "busy", "5"),
    "missing": lambda: refused(404, "model not found"),
    "bad": lambda: BadRequest("no"),
    "bug": lambda: ValueError("bug"),
}
_CONFIGS = [
    {"upstreams": upstreams("a", "b", parallel=1)},
    {"upstreams": upstreams("a", "b", parallel=2), "limits": {"queue": 3}},
    {"upstreams": upstreams("a", parallel=1) | upstreams("c", parallel=1)},
    {
        "upstreams": upstreams("a", "b", parallel=1, weight=2),
        "routes": [{"model": "m*", "backend": "remote", "upstreams": ["b"]}],
    },
]
_STEPS = st.one_of(
    st.tuples(
        st.just("begin"),
        st.sampled_from(["m", "n"]),
        st.sampled_from(["x", "y"]),
        st.sampled_from([(), ("a",), ("b",), ("a", "b")]),
    ),
    st.tuples(st.just("answer"), st.integers(0, 9)),
    st.tuples(st.just("fault"), st.integers(0, 9), st.sampled_from(sorted(_FAULTS))),
    st.tuples(st.just("end"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("configure"), st.integers(0, len(_CONFIGS) - 1), st.integers(0, 1)),
    st.tuples(st.just("later"), st.integers(1, 12)),
    st.tuples(st.just("learn"), st.sampled_from([["m"], ["m", "n"]])),
)


class Storm:
    """Requests whose attempts end when they are told to."""

    def __init__(self) -> None:
        self.pools = Pools(_CONFIGS[0], a=["m", "n"], b=["m"])
        self.open: list[asyncio.Future[None]] = []
        self.tasks: set[asyncio.Task[Lease[Answer]]] = set()
        self.leases: list[Lease[Answer]] = []
        self.most: dict[str, int] = {}

    async def attempt(self, upstream: Any, there: str) -> Answer:
        assert upstream.running <= max(upstream.member.config.parallel, self.most.get(upstream.name, 0))
        gate = asyncio.get_running_loop().create_future()
        self.open.append(gate)
        try:
            await gate
        finally:
            self.open = [other for other in self.open if other is not gate]
        return Answer(upstream.name)

    async def step(self, kind: str, *what: Any) -> None:
        gates = [gate for gate in self.open if not gate.done()]
        tasks = sorted(self.tasks, key=id)
        match kind, what:
            case "begin", (model, client, asked):
                want = wanted(model, client=client, asked=asked)
                self.tasks.add(asyncio.create_task(self.pools.pool.run(want, self.attempt)))
            case "answer", (at,) if gates:
                gates[at % len(gates)].set_result(None)
            case "fault", (at, fault) if gates:
                gates[at % len(gates)].set_exception(_FAULTS[fault]())
            case "end", (at, failed) if self.leases:
                lease = self.leases.pop(at % len(self.leases))
                if failed:
                    lease.failed(broke())
                await lease.aclose()
            case "cancel", (at,) if tasks:
                tasks[at % len(tasks)].cancel()
            case "configure", (at, hedge):
                self.most = {name: max(self.most.get(name, 0), n) for name, n in self.pools.running.items()}
                self.pools.configure({**_CONFIGS[at], "remote": {"failures": 2, "hedge": hedge * 1e-6}})
            case "later", (seconds,):
                self.pools.time.now += seconds
                self.pools.pool._places.settle()  # as the timers of those who wait would
            case "learn", (models,):
                self.pools.pool.upstreams[0].learn([listed(model) for model in models], None)
                self.pools.pool._places.settle(lost=True)
            case _:
                return
        await self.calm()

    async def calm(self) -> None:
        await spin(30)
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.discard(task)
            if not task.cancelled() and task.exception() is None:
                self.leases.append(task.result())
            elif not task.cancelled():
                assert isinstance(task.exception(), RemudaError | ValueError)
        now = self.pools.time.now
        for waiter in self.pools.pool._places.waiters():
            usable = [upstream for upstream in waiter.request.may if _fits(waiter.request, upstream, now)]
            assert usable, "waits in vain"
            assert all(upstream.full for upstream in usable), "waits beside a free place"


@settings(max_examples=50, deadline=None)
@given(st.lists(_STEPS, min_size=10, max_size=50))
def test_no_place_is_lost_or_given_twice_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        storm = Storm()
        for step in steps:
            await storm.step(*step)
        for _ in range(len(steps) + 1):
            for gate in storm.open:
                if not gate.done():
                    gate.set_result(None)
            while storm.leases:
                await storm.leases.pop().aclose()
            await storm.calm()
        assert not storm.tasks
        assert all(upstream.running == 0 for upstream in storm.pools.made)
        assert not storm.pools.pool._places.waiters()
        await storm.pools.pool.close()
        assert all(server.closed for server in storm.pools.servers.values())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
