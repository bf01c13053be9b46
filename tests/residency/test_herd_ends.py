"""Models that die, and the end of all of them."""

from __future__ import annotations

import asyncio

import pytest
from scripted_effects import asked, entry, ranch, turns

from remuda.errors import (
    Draining,
    EngineMissing,
    Quarantined,
)

pytestmark = pytest.mark.anyio


# models that die


async def test_a_model_that_dies_is_reaped_and_its_waiters_get_a_new_one() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        inside = herd.start(asked(parallel=1), release)
        await turns()
        waiting = herd.start(asked(parallel=1))
        await turns()
        first = herd.effects.models[0]
        first.dead.set()
        assert await waiting is herd.effects.models[1]
        assert not first.open
        release.set()
        await inside
        await turns()
        assert herd.empty()
        assert len(herd.effects.open) == 1, "the end of the old request changed nothing"


async def test_an_idle_model_that_dies_is_reaped() -> None:
    async with ranch() as herd:
        model = await herd.request()
        herd.effects.models[0].dead.set()
        await turns()
        assert herd.herd.residents() == []
        assert not herd.effects.open
        assert await herd.request() is not model


async def test_a_model_that_cannot_tell_that_it_died_is_found_out() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        inside = herd.start(asked(parallel=1), release)
        await turns()
        first = herd.effects.models[0]
        waiting = herd.start(asked(parallel=1))
        await turns()
        first.silent = True
        first.dead.set()
        await turns()
        release.set()
        await inside
        assert await waiting is herd.effects.models[1]
        second = herd.effects.models[1]
        second.silent = True
        second.dead.set()
        await turns()
        third = herd.start()
        await herd.pass_time(1)
        assert await third is herd.effects.models[2]
        assert not first.open
        assert not second.open


async def test_a_model_that_dies_again_and_again_is_quarantined_with_its_last_words() -> None:
    async with ranch() as herd:
        for _ in range(3):
            release = asyncio.Event()
            inside = herd.start(None, release)
            await herd.pass_time(1)
            herd.effects.models[-1].dead.set()
            await turns()
            inside.cancel()
        with pytest.raises(Quarantined, match=r"unexpectedly stopped.*: it fell over"):
            await herd.request()


async def test_last_words_that_come_late_are_heard() -> None:
    async with ranch() as herd:
        for _ in range(3):
            inside = herd.start(None, asyncio.Event())
            await herd.pass_time(1)
            model = herd.effects.models[-1]
            model.last.clear()
            model.dead.set()
            inside.cancel()
            await turns()
        with pytest.raises(Quarantined, match="it fell over"):
            await herd.request()


async def test_a_dead_model_that_takes_its_time_is_not_loaded_twice() -> None:
    async with ranch() as herd:
        await herd.request()
        herd.effects.models[0].gate.clear()
        herd.effects.models[0].dead.set()
        await turns()
        waiting = herd.start()
        await turns()
        assert herd.effects.loads == 1
        herd.effects.models[0].gate.set()
        assert await waiting is herd.effects.models[1]


# closing


@pytest.mark.parametrize("at", ["nothing", "weigh", "load", "idle", "busy", "leaving", "dead"])
async def test_closing_at_any_moment_leaves_nothing_and_keeps_nobody_waiting(at: str) -> None:
    async with ranch() as herd:
        release, waiting, farewell = asyncio.Event(), None, None
        if at in {"weigh", "load"}:
            herd.effects.gates[at].clear()
        elif at != "nothing":
            inside = herd.start(asked(parallel=1), release)
            await turns()
            if at != "busy":
                release.set()
                await inside
            herd.effects.models[0].gate.clear()
        if at == "leaving":
            farewell = asyncio.create_task(herd.herd.leave(entry(), "scripted"))
            await turns()
        elif at == "dead":
            herd.effects.models[0].dead.set()
            await turns()
        if at not in {"nothing", "idle"}:
            waiting = herd.start(asked(parallel=1))
            await turns()
            assert not waiting.done()
        closing = asyncio.create_task(herd.herd.close())
        await turns()
        for model in herd.effects.models:
            model.gate.set()
        await asyncio.wait_for(closing, 5)
        assert not herd.effects.open
        if waiting is not None:
            with pytest.raises(Draining):
                await waiting
        if farewell is not None:
            await asyncio.wait_for(farewell, 5)
        release.set()
        with pytest.raises(Draining):
            await herd.request()
        await asyncio.wait_for(herd.herd.leave(entry(), "scripted"), 5)
        await herd.herd.close()
        await turns()
        assert herd.empty()


async def test_who_comes_while_it_closes_is_refused() -> None:
    async with ranch() as herd:
        await herd.request()
        herd.effects.models[0].gate.clear()
        closing = asyncio.create_task(herd.herd.close())
        late = herd.start(asked("other"))
        await turns()
        with pytest.raises(Draining):
            await late
        herd.effects.models[0].gate.set()
        await closing
        assert herd.effects.loads == 1


async def test_nothing_is_kept_of_models_that_are_forgotten() -> None:
    async with ranch() as herd:
        herd.effects.faults["load"] = [EngineMissing("none") for _ in range(300)]
        for number in range(300):
            with pytest.raises(EngineMissing):
                await herd.request(asked(f"m{number}"))
        assert len(herd.herd._desk.seats) <= 201
        assert len(herd.herd._homes) <= 201
        assert not herd.herd._models
        assert not herd.herd._watches
