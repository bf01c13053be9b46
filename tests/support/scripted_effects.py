"""Models that are only a name, and the effects that make them: each load, weighing and end can be held up or fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from fake_clock import FakeClock

from remuda.backend import LoadedModel, LoadWish, ModelStats
from remuda.job import Client
from remuda.model import ModelEntry, parse_name
from remuda.residency import Asked, Herd, Limits, Room, Use


def entry(name: str = "m", weights: str | None = None) -> ModelEntry:
    return ModelEntry(name=parse_name(name), weights=Path(weights or name))


def asked(name: str = "m", context: int = 100, *, client: str = "", parallel: int = 4, **more: Any) -> Asked:
    automatic, weights = more.pop("automatic", False), more.pop("weights", None)
    return Asked(
        entry=entry(name, weights),
        backend="scripted",
        wish=LoadWish(context=context, parallel=parallel, automatic=automatic),
        client=Client(client),
        **more,
    )


async def turns(count: int = 30) -> None:
    """Whatever can happen without waiting for anything happens."""
    for _ in range(count):
        await asyncio.sleep(0)


class ScriptedModel(LoadedModel):
    def __init__(self, name: str, context: int) -> None:
        self.name, self.context, self.open = name, context, True
        self.dead = asyncio.Event()
        self.silent = False
        """It cannot tell that it died."""
        self.last = asyncio.Event()
        """It says so only then, or when it is closed."""
        self.last.set()
        self.fault: BaseException | None = None
        """What `close` and `stats` raise."""
        self.gate = asyncio.Event()
        """`close` waits for it."""
        self.gate.set()

    @property
    def alive(self) -> bool:
        return self.open and not self.dead.is_set()

    async def ended(self) -> str:
        await self.dead.wait()
        await self.last.wait()
        if self.silent:
            await asyncio.get_running_loop().create_future()
        return "it fell over"

    async def stats(self) -> ModelStats:
        if self.fault is not None:
            raise self.fault
        return ModelStats(size=1000)

    async def close(self) -> None:
        await self.gate.wait()
        self.last.set()
        await asyncio.sleep(0)
        self.open = False
        if self.fault is not None:
            raise self.fault


class ScriptedEffects:
    """`remuda.residency.Effects`."""

    def __init__(self) -> None:
        self.models: list[ScriptedModel] = []
        """All that were ever made."""
        self.loads = 0
        self.gates = {"weigh": asyncio.Event(), "load": asyncio.Event()}
        for gate in self.gates.values():
            gate.set()
        self.faults: dict[str, list[BaseException]] = {"weigh": [], "load": [], "keep_alive": []}
        """What the next ones raise."""
        self.model_fault: BaseException | None = None
        self.keep = 300.0
        self.room = Room(need=None)
        self.progress: Callable[[float], None] | None = None

    async def weigh(self, entry: ModelEntry, backend: str, wish: LoadWish) -> Room:
        await self._pass("weigh")
        return self.room

    async def load(
        self, entry: ModelEntry, backend: str, wish: LoadWish, progress: Callable[[float], None]
    ) -> LoadedModel:
        name = str(entry.weights)
        assert not any(model.open and model.name == name for model in self.models), "two runners for one model"
        self.loads += 1
        self.progress = progress
        await self._pass("load")
        model = ScriptedModel(name, wish.context)
        model.fault = self.model_fault
        self.models.append(model)
        return model

    def keep_alive(self, entry: ModelEntry, backend: str, use: Use) -> float:
        if self.faults["keep_alive"]:
            raise self.faults["keep_alive"].pop(0)
        return self.keep if use.asked is None else use.asked

    async def _pass(self, which: str) -> None:
        await self.gates[which].wait()
        if self.faults[which]:
            raise self.faults[which].pop(0)

    @property
    def open(self) -> list[ScriptedModel]:
        return [model for model in self.models if model.open]


class Ranch:
    """A herd with models that are only a name and a clock that stands still; `request` is somebody who asks."""

    def __init__(self, **limits: Any) -> None:
        self.effects, self.clock = ScriptedEffects(), FakeClock()
        self.herd = Herd(self.effects, Limits(**limits), self.clock)

    async def request(self, what: Asked | None = None, until: asyncio.Event | None = None) -> LoadedModel:
        """Ask, hold the model until the event is set (or not at all), be served."""
        async with self.herd.use(what or asked()) as lease:
            model = await lease.model()
            if until is not None:
                await until.wait()
            lease.done = True
            return model

    def start(self, what: Asked | None = None, until: asyncio.Event | None = None) -> asyncio.Task[LoadedModel]:
        return asyncio.get_running_loop().create_task(self.request(what, until))

    async def pass_time(self, seconds: float) -> None:
        """In steps, since what the alarm asks for takes turns of the loop."""
        for _ in range(10):
            await turns(10)
            self.clock.advance(seconds / 10)
        await turns()

    def empty(self) -> bool:
        """Nothing is left of any request."""
        return not self.herd._leases and not self.herd._desk._seat_of


@contextlib.asynccontextmanager
async def ranch(**limits: Any) -> AsyncGenerator[Ranch, None]:
    made = Ranch(**limits)
    before = asyncio.all_tasks()
    try:
        yield made
    finally:
        for model in made.effects.models:
            model.gate.set()
        await asyncio.wait_for(made.herd.close(), 5)
        assert not made.effects.open, "a model outlived the herd"
        await turns()
        left = asyncio.all_tasks() - before
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
