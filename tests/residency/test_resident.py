"""One seat, with models that are only a name: what loads, what leaves, who waits."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import pytest

from remuda.backend import LoadedModel, LoadWish
from remuda.errors import Draining, LoadFailed, ServerBusy
from remuda.model import ModelEntry, parse_name
from remuda.residency import Resident

pytestmark = pytest.mark.anyio


class _Model(LoadedModel):
    def __init__(self, context: int) -> None:
        self.context, self.open, self.dead = context, True, False

    @property
    def alive(self) -> bool:
        return self.open and not self.dead

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.open = False


class _Stable:
    """Makes models and keeps them all; `gate` holds loads up, `fails` lets them fail."""

    def __init__(self) -> None:
        self.models: list[_Model] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = 0

    async def load(self, wish: LoadWish) -> LoadedModel:
        assert not any(model.open for model in self.models), "two processes for one model"
        await self.gate.wait()
        if self.fails:
            self.fails -= 1
            raise LoadFailed("no")
        self.models.append(_Model(wish.context))
        return self.models[-1]

    def resident(self, keep_alive: float = 300, parallel: int = 4, queue: int = 8) -> Resident:
        entry = ModelEntry(name=parse_name("m"), weights=Path("m"))
        return Resident(entry, self.load, keep_alive=keep_alive, parallel=parallel, queue=queue)


WISH = LoadWish(context=100)


async def _hold(resident: Resident, until: asyncio.Event, wish: LoadWish = WISH) -> LoadedModel:
    async with resident.use(wish, None) as model:
        await until.wait()
        return model


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_many_waiters_cause_one_load() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    resident = stable.resident()
    models = await asyncio.gather(*(_hold(resident, release) for _ in range(5)))
    assert len(stable.models) == 1
    assert all(model is stable.models[0] for model in models)


async def test_a_failed_load_is_told_to_all_and_the_next_one_tries_again() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    stable.fails = 1
    resident = stable.resident()
    results = await asyncio.gather(*(_hold(resident, release) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, LoadFailed) for result in results)
    assert await _hold(resident, release) is stable.models[0]


async def test_it_leaves_when_its_time_is_up_and_not_before() -> None:
    stable = _Stable()
    resident = stable.resident(keep_alive=0.02)
    async with resident.use(WISH, None):
        await asyncio.sleep(0.05)
        assert stable.models[0].open
    while stable.models[0].open:
        await asyncio.sleep(0.005)
    assert resident.model is None


async def test_keep_alive_zero_unloads_as_soon_as_idle() -> None:
    stable = _Stable()
    resident = stable.resident()
    async with resident.use(WISH, 0):
        pass
    await _turns()
    assert not stable.models[0].open


async def test_a_request_keeps_what_an_earlier_one_set() -> None:
    stable = _Stable()
    resident = stable.resident(keep_alive=300)
    async with resident.use(WISH, math.inf):
        pass
    async with resident.use(WISH, None):
        pass
    assert resident.expires_at > time.time() + 10**9
    async with resident.use(WISH, 60):
        pass
    assert 50 < resident.expires_at - time.time() <= 60


async def test_leaving_waits_for_who_is_inside() -> None:
    stable, release = _Stable(), asyncio.Event()
    resident = stable.resident()
    inside = asyncio.create_task(_hold(resident, release))
    await _turns()
    await resident.leave()
    assert stable.models[0].open
    release.set()
    await inside
    await _turns()
    assert not stable.models[0].open


async def test_leaving_an_idle_model_is_done_when_it_returns() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    resident = stable.resident()
    await _hold(resident, release)
    await resident.leave()
    assert not stable.models[0].open
    await resident.leave()


async def test_a_dead_model_is_loaded_anew() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    resident = stable.resident()
    await _hold(resident, release)
    stable.models[0].dead = True
    assert resident.model is None
    assert await _hold(resident, release) is stable.models[1]


async def test_growth_waits_for_who_is_inside_and_is_not_overtaken() -> None:
    stable, release = _Stable(), asyncio.Event()
    resident = stable.resident()
    small = asyncio.create_task(_hold(resident, release))
    await _turns()
    grown = [asyncio.create_task(_hold(resident, release, LoadWish(context=size))) for size in (200, 400)]
    late = asyncio.create_task(_hold(resident, release))
    await _turns()
    assert len(stable.models) == 1
    release.set()
    models = await asyncio.gather(small, *grown, late)
    assert [model.context for model in models] == [100, 400, 400, 400]
    assert len(stable.models) == 2


async def test_a_smaller_wish_never_reloads() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    resident = stable.resident()
    await _hold(resident, release, LoadWish(context=400))
    assert (await _hold(resident, release, LoadWish(context=50))).context == 400
    assert len(stable.models) == 1


async def test_who_gives_up_growing_holds_nobody_up() -> None:
    stable, release = _Stable(), asyncio.Event()
    resident = stable.resident()
    inside = asyncio.create_task(_hold(resident, release))
    await _turns()
    growing = asyncio.create_task(_hold(resident, release, LoadWish(context=400)))
    await _turns()
    growing.cancel()
    await _turns()
    release.set()
    assert await _hold(resident, release) is await inside


async def test_the_load_outlives_who_asked_for_it() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    stable.gate.clear()
    resident = stable.resident()
    first = asyncio.create_task(_hold(resident, release))
    await _turns()
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(_hold(resident, release))
    stable.gate.set()
    assert await second is stable.models[0]
    assert len(stable.models) == 1


async def test_a_load_that_nobody_waits_for_leaves_when_its_time_is_up() -> None:
    stable, release = _Stable(), asyncio.Event()
    stable.gate.clear()
    resident = stable.resident(keep_alive=0)
    first = asyncio.create_task(_hold(resident, release))
    await _turns()
    first.cancel()
    await asyncio.wait([first])
    stable.gate.set()
    await _turns()
    assert [model.open for model in stable.models] == [False]


async def test_one_too_many_is_refused_and_the_others_served() -> None:
    stable, release = _Stable(), asyncio.Event()
    resident = stable.resident(parallel=1, queue=2)
    tasks = [asyncio.create_task(_hold(resident, release)) for _ in range(3)]
    await _turns()
    with pytest.raises(ServerBusy, match="server busy, please try again"):
        await _hold(resident, release)
    release.set()
    assert len(await asyncio.gather(*tasks)) == 3


async def test_closing_unloads_and_refuses() -> None:
    stable, release = _Stable(), asyncio.Event()
    release.set()
    resident = stable.resident()
    await _hold(resident, release)
    await resident.close()
    assert not stable.models[0].open
    with pytest.raises(Draining):
        await _hold(resident, release)


async def test_closing_in_the_middle_of_a_load_leaves_nothing() -> None:
    stable, release = _Stable(), asyncio.Event()
    stable.gate.clear()
    resident = stable.resident()
    first = asyncio.create_task(_hold(resident, release))
    await _turns()
    await resident.close()
    result = (await asyncio.gather(first, return_exceptions=True))[0]
    assert isinstance(result, (Draining, asyncio.CancelledError))
    assert stable.models == []
