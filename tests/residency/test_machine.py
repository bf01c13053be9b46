"""The scheduler against a world that does everything at any moment: what must hold then holds (`desk_world`)."""

from __future__ import annotations

import math
from typing import Any

from desk_world import World
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from remuda.backend import LoadWish
from remuda.errors import EngineMissing, LoadFailed, OutOfMemory
from remuda.residency.effects import Weigh
from remuda.residency.queue import Ticket
from remuda.residency.rules import Limits

KEYS = ["a", "b", "c"]
_clients = st.sampled_from(["1", "1/x", "1/y", "2", "3"])
_lanes = st.sampled_from(["generate", "generate", "embed", "load"])
_contexts = st.sampled_from([4, 300, 1000, 2000, 4000, 50_000])
_wishes = st.builds(LoadWish, context=_contexts, automatic=st.booleans(), parallel=st.integers(1, 3))
_keep_alives = st.sampled_from([None, None, None, 0.0, 5.0, 300.0, math.inf])
_failures = st.sampled_from([LoadFailed("no"), LoadFailed("no"), OutOfMemory("too little"), EngineMissing("none")])


class Residency(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tickets: list[Ticket] = []
        self.old: list[Weigh] = []

    @initialize(
        memory=st.sampled_from([None, 3000, 6000, 10_000]),
        weights=st.dictionaries(st.sampled_from(KEYS), st.sampled_from([500, 1500, 5000])),
        most=st.integers(0, 3),
        queue=st.sampled_from([2, 512]),
        timeout=st.sampled_from([0.0, 0.0, 10.0]),
    )
    def begin(self, memory: int | None, weights: dict[Any, int], most: int, queue: int, timeout: float) -> None:
        limits = Limits(max_loaded=most, queue=queue, queue_timeout=timeout)
        self.world = World(limits=limits, memory=memory, weights=weights)

    @rule(
        key=st.sampled_from(KEYS),
        client=_clients,
        want=_wishes,
        lane=_lanes,
        priority=st.sampled_from([0, 0, 0, 5]),
        keep_alive=_keep_alives,
        times=st.sampled_from([1, 1, 1, 3]),
    )
    def ask(self, key: str, client: str, want: LoadWish, times: int, **more: Any) -> None:
        self.tickets += [self.world.ask(key, client, want, **more) for _ in range(times)]

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.world.end(data.draw(st.sampled_from(list(self.world.waiting.values()))), served=False)

    @precondition(lambda self: self.world.active)
    @rule(data=st.data(), served=st.booleans())
    def finish(self, data: st.DataObject, served: bool) -> None:
        self.world.end(data.draw(st.sampled_from(list(self.world.active.values()))), served=served)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def end_again(self, data: st.DataObject) -> None:
        over = [ticket for ticket in self.tickets if ticket.id in self.world.ended | self.world.refused.keys()]
        if over:
            self.world.end(data.draw(st.sampled_from(over)))

    @precondition(lambda self: self.world.weighs)
    @rule(data=st.data(), early=st.booleans())
    def weighed(self, data: st.DataObject, early: bool) -> None:
        weigh = data.draw(st.sampled_from(self.world.weighs))
        self.old = [*self.old, weigh][-10:]
        self.world.weighed(weigh, self.world.rooms[weigh] if early else None)

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def weighed_again(self, data: st.DataObject) -> None:
        weigh = data.draw(st.sampled_from(self.old))
        self.world.weighed(weigh, self.world.rooms[weigh])

    @precondition(lambda self: self.world.loads)
    @rule(data=st.data(), trained=st.sampled_from([100_000, 1500]), parallel=st.sampled_from([None, 1, 2]))
    def loaded(self, data: st.DataObject, trained: int, parallel: int | None) -> None:
        load = data.draw(st.sampled_from(list(self.world.loads.values())))
        self.world.loaded(load.key, context=min(trained, load.wish.context), parallel=parallel)

    @rule(times=st.integers(1, 6), slow=st.booleans())
    def proceed(self, times: int, slow: bool) -> None:
        """Some of what is wanted is done."""
        world = self.world
        for _ in range(times):
            if world.unloads and not slow:
                world.unloaded(min(world.unloads))
            elif world.weighs:
                world.weighed()
            elif world.loads:
                world.loaded(min(world.loads))

    @rule(key=st.sampled_from(KEYS), times=st.integers(1, 4), waits=st.sampled_from([0.0, 0.5, 10.0]))
    def fail(self, key: str, times: int, waits: float) -> None:
        """All loads of one model fail for a while."""
        for _ in range(times):
            self.tickets.append(self.world.ask(key))
            while self.world.weighs:
                self.world.weighed()
            if key in self.world.loads:
                self.world.load_failed(LoadFailed("no"), key)
            elif key in self.world.running and key not in self.world.unloads:
                self.world.died(key)
            self.world.sleep(waits)

    @precondition(lambda self: self.world.loads)
    @rule(data=st.data(), error=_failures)
    def load_failed(self, data: st.DataObject, error: LoadFailed) -> None:
        key = data.draw(st.sampled_from(list(self.world.loads)))
        self.world.load_failed(error, key, counts=not isinstance(error, EngineMissing))

    @precondition(lambda self: self.world.unloads)
    @rule(data=st.data())
    def unloaded(self, data: st.DataObject) -> None:
        self.world.unloaded(data.draw(st.sampled_from(sorted(self.world.unloads))))

    @precondition(lambda self: self.world.desk.seats)
    @rule(data=st.data())
    def died(self, data: st.DataObject) -> None:
        """Loaded or not: it may be told late, or twice."""
        key = data.draw(st.sampled_from(list(self.world.desk.seats)))
        if key not in self.world.loads:
            self.world.died(key)

    @rule(key=st.sampled_from(KEYS))
    def unload(self, key: str) -> None:
        self.world.unload(key)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 4.0, 20.0, 70.0, 400.0]))
    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    @rule()
    def until_something_happens(self) -> None:
        due = self.world.desk.deadline(self.world.now)
        if due is not None and due != math.inf:
            self.world.sleep(due - self.world.now)

    @rule(
        max_loaded=st.integers(0, 3),
        queue=st.sampled_from([1, 3, 512]),
        queue_timeout=st.sampled_from([0.0, 5.0]),
        quarantine=st.sampled_from([0.0, 10.0, 60.0]),
    )
    def limit(self, **changed: Any) -> None:
        self.world.limit(**changed)

    @rule()
    def settle(self) -> None:
        """Whoever waits is served, or told why not."""
        self.world.work()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.empty()
        fates = [world.ended, world.refused.keys()]
        assert all(sum(ticket.id in fate for fate in fates) == 1 for ticket in self.tickets)


TestResidency = Residency.TestCase
TestResidency.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
