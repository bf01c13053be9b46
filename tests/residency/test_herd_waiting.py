"""Those who wait on a real event loop: when they leave, what they are told, and that none is forgotten."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import aclosing

import pytest
from scripted_effects import Ranch, ScriptedModel, asked, entry, ranch, turns

from remuda.backend import LoadedModel
from remuda.errors import (
    LoadFailed,
    Quarantined,
    ServerBusy,
    WaitedTooLong,
)
from remuda.residency import Asked, Wait

pytestmark = pytest.mark.anyio


# those who leave


async def test_a_load_outlives_who_asked_for_it() -> None:
    async with ranch() as herd:
        herd.effects.gates["load"].clear()
        first = herd.start()
        await turns()
        first.cancel()
        await asyncio.wait([first])
        second = herd.start()
        herd.effects.gates["load"].set()
        assert await second is herd.effects.models[0]
        assert herd.effects.loads == 1


async def test_a_load_that_nobody_waits_for_leaves_when_its_time_is_up() -> None:
    async with ranch() as herd:
        herd.effects.gates["load"].clear()
        first = herd.start()
        await turns()
        first.cancel()
        herd.effects.gates["load"].set()
        await herd.pass_time(299)
        assert herd.effects.open
        await herd.pass_time(2)
        assert not herd.effects.open


@pytest.mark.parametrize("after", range(12))
async def test_a_waiter_can_leave_at_any_turn_of_the_loop(after: int) -> None:
    async with ranch() as herd:
        leaver = herd.start(asked(parallel=1))
        other = herd.start(asked(parallel=1))
        for _ in range(after):
            await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.wait([leaver])
        assert await other is herd.effects.models[0]
        await turns()
        assert herd.empty()
        assert herd.effects.loads == 1


@pytest.mark.parametrize("held", ["weigh", "load", "ready", "leaving"])
async def test_a_waiter_can_leave_whatever_it_waits_for(held: str) -> None:
    async with ranch() as herd:
        release, tasks = asyncio.Event(), []
        if held in {"weigh", "load"}:
            herd.effects.gates[held].clear()
        else:
            tasks = [herd.start(asked(parallel=1, keep_alive=0.0), release)]
            await turns()
            if held == "leaving":
                herd.effects.models[0].gate.clear()
                release.set()
                await turns()
        waiter = herd.start(asked(parallel=1))
        await turns()
        assert not waiter.done()
        waiter.cancel()
        await asyncio.wait([waiter])
        await turns()
        assert not herd.herd.queued()
        for gate in herd.effects.gates.values():
            gate.set()
        for model in herd.effects.models:
            model.gate.set()
        release.set()
        await asyncio.gather(*tasks)
        await herd.request()
        await turns()
        assert herd.empty()


async def test_a_place_is_free_right_after_the_block_ends() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        inside, waiting = herd.start(asked(parallel=1), release), herd.start(asked(parallel=1))
        await turns()
        assert not waiting.done()
        inside.cancel()
        await asyncio.wait([inside])
        await turns(5)
        assert waiting.done()


async def _raise(herd: Ranch) -> None:
    async with herd.herd.use(asked(parallel=1)) as lease:
        await lease.model()
        raise ZeroDivisionError


async def test_a_block_that_raises_gives_its_place_back() -> None:
    async with ranch() as herd:
        with pytest.raises(ZeroDivisionError):
            await _raise(herd)
        await herd.request(asked(parallel=1))
        assert herd.effects.loads == 1


# waiting


async def test_one_too_many_is_refused_and_the_others_served() -> None:
    async with ranch(queue=2) as herd:
        release = asyncio.Event()
        inside = herd.start(asked(parallel=1), release)
        await turns()
        waiting = [herd.start(asked(parallel=1)) for _ in range(2)]
        await turns()
        with pytest.raises(ServerBusy, match="server busy, please try again"):
            await herd.request()
        release.set()
        assert len(await asyncio.gather(inside, *waiting)) == 3


async def test_who_waited_too_long_is_told() -> None:
    async with ranch(queue_timeout=10) as herd:
        release = asyncio.Event()
        inside = herd.start(asked(parallel=1), release)
        await turns()
        late = herd.start(asked(parallel=1))
        await herd.pass_time(10)
        with pytest.raises(WaitedTooLong, match="10 seconds"):
            await late
        release.set()
        await inside


async def test_one_with_a_hundred_requests_does_not_hold_up_one_with_one() -> None:
    async with ranch() as herd:
        order = list[str]()

        async def request(client: str) -> None:
            async with herd.herd.use(asked(client=client, parallel=1)) as lease:
                await lease.model()
                order.append(client)
                await asyncio.sleep(0)

        many = [asyncio.create_task(request("many")) for _ in range(100)]
        await turns()
        served = len(order)
        await request("one")
        assert order.index("one") <= served + 2
        await asyncio.gather(*many)


async def test_the_wait_is_told_as_it_goes_on() -> None:
    async with ranch() as herd:
        herd.effects.gates["load"].clear()
        told = list[Wait]()

        async def watch() -> LoadedModel:
            async with herd.herd.use(asked(client="late", parallel=1)) as lease:
                async with aclosing(lease.waiting()) as waits:
                    async for wait in waits:
                        told.append(wait)
                return await lease.model()

        first = herd.start(asked(client="first", parallel=1))
        await turns()
        watching = asyncio.create_task(watch())
        await turns()
        assert herd.effects.progress is not None
        herd.effects.progress(0.5)
        while len(told) < 2:
            await asyncio.sleep(0.01)
        herd.effects.gates["load"].set()
        assert await watching is await first
        assert [(wait.position, wait.loading) for wait in told] == [(2, 0.0), (2, 0.5)]


async def test_the_wait_of_who_is_refused_ends() -> None:
    async with ranch() as herd:
        herd.effects.faults["load"] = [LoadFailed("no")]
        async with herd.herd.use(asked()) as lease:
            async with aclosing(lease.waiting()) as waits:
                async for _ in waits:
                    pass
            with pytest.raises(LoadFailed):
                await lease.model()


async def test_what_waits_can_be_seen() -> None:
    async with ranch() as herd:
        release = asyncio.Event()
        inside = herd.start(asked(parallel=1), release)
        await turns()
        first = herd.start(asked(parallel=1))
        await herd.pass_time(5)
        second = herd.start(asked(parallel=1))
        await turns()
        queued = [(str(each.entry.name), each.position, each.seconds) for each in herd.herd.queued()]
        assert queued == [("m:latest", 1, 5.0), ("m:latest", 2, 0.0)]
        [resident] = herd.herd.residents()
        assert resident.waiting == 2
        release.set()
        await asyncio.gather(inside, first, second)
        assert herd.herd.queued() == []


# all at once


class _Mob:
    """Clients who ask for models at random, and leave at random; loads fail and models die at random."""

    def __init__(self, herd: Ranch, seed: int) -> None:
        self.herd, self.random, self.served = herd, random.Random(seed), 0

    async def client(self, name: str, requests: int) -> None:
        for _ in range(requests):
            what = asked(
                f"m{self.random.randrange(6)}",
                self.random.choice([100, 100, 100, 200]),
                client=name,
                parallel=2,
                keep_alive=self.random.choice([None, None, 0, math.inf]),
            )
            task = asyncio.get_running_loop().create_task(self._request(what))
            if self.random.random() < 0.3:
                await turns(self.random.randrange(20))
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, (LoadFailed, Quarantined)), error

    async def _request(self, what: Asked) -> None:
        async with self.herd.herd.use(what) as lease:
            model = await lease.model()
            await turns(self.random.randrange(6))
            lease.done = True
            self.served += 1
            if self.random.random() < 0.03:
                assert isinstance(model, ScriptedModel)
                model.dead.set()

    async def trouble(self) -> None:
        while True:
            await turns(self.random.randrange(50))
            self.herd.clock.advance(1)
            match self.random.randrange(4):
                case 0:
                    self.herd.effects.faults["load"] = [LoadFailed("no")]
                case 1:
                    name = f"m{self.random.randrange(6)}"
                    await self.herd.herd.leave(entry(name), "scripted")
                case _:
                    assert len(self.herd.effects.open) <= 2


@pytest.mark.parametrize("seed", range(5))
async def test_nobody_is_forgotten_in_the_crowd(seed: int) -> None:
    async with ranch(max_loaded=2) as herd:
        mob = _Mob(herd, seed)
        trouble = asyncio.create_task(mob.trouble())
        async with asyncio.timeout(20):
            await asyncio.gather(*(mob.client(str(number), 40) for number in range(8)))
        assert not trouble.done()
        trouble.cancel()
        await turns()
        assert herd.empty()
        assert mob.served > 100
