"""The owner of the scheduler on a real event loop, with models that are only a name and a clock that stands still."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from scripted_effects import asked, entry, ranch, turns

from remuda.backend import Estimate
from remuda.errors import (
    EngineMissing,
    LoadFailed,
    OutOfMemory,
    Quarantined,
)
from remuda.residency import Herd, Limits, Resident, Room, State

pytestmark = pytest.mark.anyio

ANYTHING = [
    LoadFailed("no"),
    ValueError("odd"),
    asyncio.CancelledError(),
    TimeoutError(),
    ExceptionGroup("g", [OSError()]),
]


# loading


async def test_many_waiters_cause_one_load() -> None:
    async with ranch() as herd:
        models = await asyncio.gather(*(herd.request() for _ in range(20)))
        assert herd.effects.loads == 1
        assert all(model is herd.effects.models[0] for model in models)
        await turns()
        assert herd.empty()


async def test_two_names_for_the_same_weights_share_a_model() -> None:
    async with ranch() as herd:
        first = await herd.request(asked("one", weights="w"))
        assert await herd.request(asked("two", weights="w")) is first
        [resident] = herd.herd.residents()
        assert str(resident.entry.name) == "one:latest", "the name that it was loaded by"
        assert await herd.request(asked("three", weights="other")) is not first


async def test_a_failed_load_is_told_to_all_and_the_next_one_tries_again() -> None:
    async with ranch() as herd:
        herd.effects.faults["load"] = [LoadFailed("no")]
        results = await asyncio.gather(*(herd.request() for _ in range(5)), return_exceptions=True)
        assert [str(result) for result in results] == ["no"] * 5
        assert await herd.request() is herd.effects.models[0]
        assert herd.effects.loads == 2


@pytest.mark.parametrize("fault", ANYTHING, ids=lambda fault: type(fault).__name__)
async def test_whatever_a_load_raises_is_told_and_hurts_nobody_else(fault: BaseException) -> None:
    async with ranch() as herd:
        inside, release = await herd.request(asked("other")), asyncio.Event()
        busy = herd.start(asked("other"), release)
        herd.effects.faults["load"] = [fault]
        with pytest.raises(LoadFailed, match=f"no|{type(fault).__name__} while loading"):
            await herd.request()
        release.set()
        assert await busy is inside
        assert await herd.request() is herd.effects.open[-1]


@pytest.mark.parametrize("fault", ANYTHING, ids=lambda fault: type(fault).__name__)
async def test_what_cannot_be_weighed_is_loaded_all_the_same(fault: BaseException) -> None:
    async with ranch() as herd:
        herd.effects.faults["weigh"] = [fault]
        assert await herd.request() is herd.effects.models[0]


@pytest.mark.parametrize("fault", ANYTHING, ids=lambda fault: type(fault).__name__)
async def test_a_model_that_cannot_be_counted_or_closed_is_used_and_goes(fault: BaseException) -> None:
    async with ranch() as herd:
        herd.effects.model_fault = fault
        model = await herd.request()
        await herd.herd.leave(entry(), "scripted")
        assert herd.herd.residents() == []
        assert await herd.request() is not model


async def test_a_policy_that_fails_lets_the_model_go() -> None:
    async with ranch() as herd:
        herd.effects.faults["keep_alive"] = [ValueError("odd")]
        await herd.request()
        await turns()
        assert not herd.effects.open
        await herd.request()
        assert herd.effects.open


async def test_what_needs_too_much_is_refused_with_both_numbers() -> None:
    async with ranch() as herd:
        herd.effects.room = Room(need=Estimate(memory=2**31), memory=2**30)
        with pytest.raises(OutOfMemory, match=r"\(2.0 GiB\) than is available \(1.0 GiB\)"):
            await herd.request()
        assert herd.effects.loads == 0


async def test_less_context_after_a_load_without_memory() -> None:
    async with ranch() as herd:
        herd.effects.faults["load"] = [OutOfMemory("too little")]
        model = await herd.request(asked(context=4096, automatic=True))
        assert model.context == 1024


async def test_an_engine_that_is_missing_is_never_a_reason_for_quarantine() -> None:
    async with ranch() as herd:
        herd.effects.faults["load"] = [EngineMissing("none") for _ in range(5)]
        for _ in range(5):
            with pytest.raises(EngineMissing):
                await herd.request()
        await herd.request()


async def test_quarantine_comes_and_goes() -> None:
    async with ranch(quarantine=30) as herd:
        herd.effects.faults["load"] = [LoadFailed("no") for _ in range(3)]
        for _ in range(3):
            failing = herd.start()
            await herd.pass_time(1)
            with pytest.raises(LoadFailed):
                await failing
        began = time.perf_counter()
        with pytest.raises(Quarantined, match="The last failure: no"):
            await herd.request()
        assert time.perf_counter() - began < 0.05
        await herd.pass_time(30)
        await herd.request()


async def test_stopping_a_model_ends_its_quarantine() -> None:
    async with ranch() as herd:
        herd.effects.faults["load"] = [LoadFailed("no") for _ in range(3)]
        for _ in range(3):
            failing = herd.start()
            await herd.pass_time(1)
            with pytest.raises(LoadFailed):
                await failing
        await herd.herd.leave(entry(), "scripted")
        await herd.request()


# staying and leaving


def _left(resident: Resident) -> float:
    return resident.expires_at - time.time()


async def test_what_is_in_memory_can_be_seen_at_each_moment() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        herd.effects.gates["load"].clear()
        inside = herd.start(asked(keep_alive=60), release)
        await turns()
        [loading] = herd.herd.residents()
        assert (loading.state, loading.model, loading.context) == (State.LOADING, None, 100)
        assert 299 < _left(loading) <= 300
        herd.effects.gates["load"].set()
        await herd.pass_time(100)
        [used] = herd.herd.residents()
        assert (used.state, used.model, used.size) == (State.READY, herd.effects.models[0], 1000)
        assert 59 < _left(used) <= 60
        release.set()
        await inside
        await herd.pass_time(20)
        [idle] = herd.herd.residents()
        assert 39 < _left(idle) <= 40
        herd.effects.models[0].gate.clear()
        await herd.pass_time(40)
        assert herd.herd.residents() == [], "it is still there, but of no use to anybody"
        herd.effects.models[0].gate.set()


async def test_for_ever_is_a_date_far_away_and_stands_first() -> None:
    async with ranch() as herd:
        await herd.request(asked("short", keep_alive=10))
        await herd.request(asked("ever", keep_alive=math.inf))
        await turns()
        names = [str(resident.entry.name) for resident in herd.herd.residents()]
        assert names == ["ever:latest", "short:latest"]
        assert 291 < _left(herd.herd.residents()[0]) / (365.25 * 86400) < 293
        await herd.pass_time(100_000)
        assert [model.name for model in herd.effects.open] == ["ever"]


async def test_a_request_keeps_what_an_earlier_one_set() -> None:
    async with ranch() as herd:
        await herd.request(asked(keep_alive=1000))
        await herd.request()
        await herd.pass_time(999)
        assert herd.effects.open
        await herd.request(asked(keep_alive=5))
        await herd.pass_time(6)
        assert not herd.effects.open


async def test_keep_alive_zero_unloads_as_soon_as_idle() -> None:
    async with ranch() as herd:
        await herd.request(asked(keep_alive=0))
        await turns()
        assert not herd.effects.open


async def test_leaving_an_idle_model_is_done_when_it_returns() -> None:
    async with ranch() as herd:
        await herd.request()
        herd.effects.models[0].gate.clear()
        leaving = [asyncio.create_task(herd.herd.leave(entry(), "scripted")) for _ in range(3)]
        leaving.append(asyncio.create_task(herd.herd.leave(entry(), "scripted")))
        await turns()
        assert not any(task.done() for task in leaving)
        leaving[0].cancel()
        herd.effects.models[0].gate.set()
        await asyncio.wait(leaving)
        assert not herd.effects.open
        await herd.herd.leave(entry(), "scripted")
        await herd.herd.leave(entry("unheard-of"), "scripted")


@pytest.mark.parametrize("keep_alive", [None, math.inf])
async def test_leaving_waits_for_who_is_inside(keep_alive: float | None) -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        inside = herd.start(asked(keep_alive=keep_alive), release)
        await turns()
        await herd.herd.leave(entry(), "scripted")
        assert herd.effects.open
        release.set()
        await inside
        await turns()
        assert not herd.effects.open


async def test_the_clock_of_the_loop_will_do() -> None:
    async with ranch() as made:
        herd = Herd(made.effects, Limits())
        async with herd.use(asked(keep_alive=0.05)) as lease:
            await lease.model()
            await asyncio.sleep(0.1)
            assert made.effects.open
        began = asyncio.get_running_loop().time()
        while made.effects.open:
            await asyncio.sleep(0.005)
        assert 0.04 < asyncio.get_running_loop().time() - began < 5
        await herd.close()


async def test_growth_is_one_load_that_is_not_overtaken() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        small = herd.start(asked(), release)
        await turns()
        grown = [herd.start(asked(context=size)) for size in (200, 400)]
        late = herd.start(asked())
        await turns()
        assert len(herd.effects.models) == 1
        release.set()
        models = await asyncio.gather(small, *grown, late)
        assert [model.context for model in models] == [100, 400, 400, 400]
        assert herd.effects.loads == 2


async def test_who_gives_up_growing_holds_nobody_up() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        inside = herd.start(asked(), release)
        await turns()
        growing = herd.start(asked(context=400))
        await turns()
        growing.cancel()
        assert await herd.request() is herd.effects.models[0]
        release.set()
        await inside
        assert herd.effects.loads == 1


async def test_one_place_for_two_models() -> None:
    async with ranch(max_loaded=1) as herd:
        release = asyncio.Event()
        inside = herd.start(asked("a"), release)
        await turns()
        waiting = [herd.start(asked("b")) for _ in range(5)]
        await herd.pass_time(100)
        assert [model.name for model in herd.effects.open] == ["a"], "a busy one stays"
        release.set()
        await asyncio.gather(inside, *waiting)
        assert [model.name for model in herd.effects.models] == ["a", "b"]


async def test_limits_can_be_changed_while_it_runs() -> None:
    async with ranch(max_loaded=1) as herd:
        release = asyncio.Event()
        inside = herd.start(asked("a"), release)
        await turns()
        waiting = herd.start(asked("b"))
        await turns()
        herd.herd.limits = Limits(max_loaded=2)
        await waiting
        release.set()
        await inside


async def test_what_a_name_meant_before_leaves_once_it_is_idle() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        busy = herd.start(asked("m", weights="old", keep_alive=math.inf), release)
        await turns()
        await herd.request(asked("m", weights="new"))
        await turns()
        assert [model.name for model in herd.effects.open] == ["old", "new"], "a busy one stays"
        release.set()
        await busy
        await turns()
        [resident] = herd.herd.residents()
        assert str(resident.entry.weights) == "new"
        assert len(herd.effects.open) == 1


async def test_a_removed_name_takes_its_model_along_but_for_those_it_serves() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        busy = herd.start(asked("m", keep_alive=math.inf), release)
        await herd.request(asked("other"))
        await turns()
        herd.herd.dismiss(entry("m").name)
        await turns()
        assert len(herd.effects.open) == 2
        release.set()
        await busy
        await turns()
        assert [model.name for model in herd.effects.open] == ["other"]
