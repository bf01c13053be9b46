"""The world as the scheduler meets it: what it wanted done, what is done of that, and what must hold all the while."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from remuda.backend import Estimate, LoadWish
from remuda.errors import LoadFailed, RemudaError, ServerBusy
from remuda.job import Client
from remuda.residency.desk import Desk
from remuda.residency.effects import Grant, Load, Refuse, Room, Unload, Weigh
from remuda.residency.queue import LANES, Ticket
from remuda.residency.rules import Limits, must_grow
from remuda.residency.seat import Seat
from remuda.residency.states import State

DEFAULT = 300.0
EMBEDS = 64
NO = LoadFailed("no")


def wish(context: int = 1000, *, automatic: bool = False, parallel: int = 1) -> LoadWish:
    return LoadWish(context=context, automatic=automatic, parallel=parallel)


def fixed(seat: Seat) -> float:
    return DEFAULT if seat.asked is None else seat.asked


@dataclass
class Running:
    """A model in memory."""

    need: Estimate | None
    context: int
    parallel: int
    dead: bool = False


@dataclass
class World:
    """Drives a `Desk` and keeps account. Each method that gives it an input checks all that must hold then."""

    limits: Limits = field(default_factory=Limits)
    memory: int | None = None
    """Bytes in all; None is not known."""
    weights: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    """Bytes that a model needs besides one for each token of context, half of them mapped; others are not known."""
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.desk = Desk(self.limits, fixed)
        self.ids = itertools.count(1)
        self.weighs: list[Weigh] = []
        self.rooms: dict[Weigh, Room] = {}
        """What was true when each was wanted."""
        self.loads: dict[Hashable, Load] = {}
        self.unloads: set[Hashable] = set()
        self.running: dict[Hashable, Running] = {}
        self.key_of: dict[int, Hashable] = {}
        self.waiting: dict[int, Ticket] = {}
        self.active: dict[int, Ticket] = {}
        self.refused: dict[int, RemudaError] = {}
        self.ended: set[int] = set()
        self.granted: list[int] = []
        """Ids, in order."""
        self.log: list[tuple[str, Hashable]] = []
        """Loads and unloads, in order."""
        self.peaceful = True
        """No limit was lowered below what is in use."""

    # inputs

    def ask(self, key: Hashable = "m", client: str = "a", want: LoadWish | None = None, **more: Any) -> Ticket:
        timeout = self.desk.limits.queue_timeout
        address, _, secret = client.partition("/")
        ticket = Ticket(
            id=next(self.ids),
            wish=want or wish(),
            client=Client(address, secret),
            arrived=self.now,
            deadline=self.now + timeout if timeout else None,
            **more,
        )
        waited = sum(self.key_of[id] == key for id in self.waiting)
        self.waiting[ticket.id], self.key_of[ticket.id] = ticket, key
        self.desk.ask(self.now, key, str(key), ticket)
        self.take()
        full = waited >= self.desk.limits.queue
        assert isinstance(self.refused.get(ticket.id), ServerBusy) <= full, "refused although there was a place"
        assert full <= (sum(self.key_of[id] == key for id in self.waiting) <= waited), "one too many waits"
        return ticket

    def end(self, ticket: Ticket, *, served: bool = True) -> None:
        self.desk.end(self.now, ticket, served=served)
        if self.waiting.pop(ticket.id, None) or self.active.pop(ticket.id, None):
            self.ended.add(ticket.id)
        self.take()

    def weighed(self, weigh: Weigh | None = None, room: Room | None = None) -> None:
        weigh = weigh or self.weighs[0]
        if weigh in self.weighs:
            self.weighs.remove(weigh)
        self.desk.weighed(self.now, weigh, room or self.room(weigh))
        self.take()

    def loaded(self, key: Hashable = "m", *, context: int | None = None, parallel: int | None = None) -> None:
        load = self.loads.pop(key)
        context = load.wish.context if context is None else context
        most = max(1, parallel or load.wish.parallel)
        self.running[key] = Running(self.need(key, load.wish), max(context, load.wish.context), most)
        self.desk.loaded(self.now, key, context, parallel, 0)
        self.take()

    def load_failed(self, error: RemudaError, key: Hashable = "m", *, counts: bool = True) -> None:
        del self.loads[key]
        self.desk.load_failed(self.now, key, error, counts=counts)
        self.take()

    def unloaded(self, key: Hashable = "m") -> None:
        self.unloads.remove(key)
        del self.running[key]
        self.desk.unloaded(self.now, key)
        self.take()

    def died(self, key: Hashable = "m", words: str = "it fell over") -> None:
        if key in self.running:
            self.running[key].dead = True
        if key not in self.unloads:
            for id in [id for id in self.active if self.key_of[id] == key]:
                del self.active[id]
                self.ended.add(id)
        self.desk.died(self.now, key, words)
        self.take()

    def unload(self, key: Hashable = "m") -> None:
        self.desk.unload(self.now, key)
        self.take()

    def tick(self) -> None:
        self.desk.tick(self.now)
        self.take()

    def limit(self, **changed: Any) -> None:
        old, new = self.desk.limits, Limits(**{**_fields(self.desk.limits), **changed})
        self.peaceful &= not new.max_loaded or 0 < old.max_loaded <= new.max_loaded
        self.desk.limits = new
        self.tick()

    def sleep(self, seconds: float) -> None:
        """Time passes, and the alarm rings whenever it is due."""
        until, rings = self.now + seconds, 0
        while (due := self.desk.deadline(self.now)) is not None and due <= until:
            rings += 1
            assert rings < 1000, "the alarm rings on and on"
            self.now = max(self.now, due)
            self.tick()
        self.now = until

    # what is done about it

    def load(self, key: Hashable = "m", **more: Any) -> None:
        """Everything until it is loaded that others wait for."""
        while key not in self.loads:
            if self.weighs:
                self.weighed()
            else:
                self.unloaded(next(iter(self.unloads)))
        self.loaded(key, **more)

    def step(self) -> bool:
        """Do one thing that is wanted; whether there was one."""
        if self.weighs:
            self.weighed()
        elif self.loads:
            self.loaded(next(iter(self.loads)))
        elif self.unloads:
            self.unloaded(next(iter(self.unloads)))
        else:
            return False
        return True

    def serve(self, count: int) -> list[Ticket]:
        """Do all that is wanted and end requests until so many are over, or none is left; these, in order."""
        served: list[Ticket] = []
        while len(served) < count:
            if not self.step():
                if not self.active:
                    break
                served.append(next(iter(self.active.values())))
                self.end(served[-1])
        return served

    def work(self, rounds: int = 1000) -> None:
        """Do all that is wanted, and let nobody hold a model for long, until nothing is left to do."""
        for _ in range(rounds):
            if self.step():
                continue
            if self.active:
                self.end(next(iter(self.active.values())))
            elif self.waiting:
                due = self.desk.deadline(self.now)
                assert due is not None, f"forgotten: {self.waiting}"
                assert due < math.inf, f"forgotten: {self.waiting}"
                self.sleep(due - self.now)
            else:
                return
        raise AssertionError(f"it never ends: {self.waiting}")

    def empty(self) -> None:
        """All that is idle leaves: at its time, or because somebody wants it to."""
        self.work()
        self.sleep(100_000)
        self.work()
        for key in list(self.running):
            assert self.desk.seats[key].asked == math.inf, f"{key} should be gone"
            self.unload(key)
        self.work()
        assert not self.running

    # whole stories

    def ready(self, *keys: str, keep_alive: float | None = None, want: LoadWish | None = None) -> None:
        """Loaded and idle, one after the other."""
        for key in keys:
            ticket = self.ask(key, want=want, keep_alive=keep_alive)
            if key not in self.running:
                self.load(key)
            self.end(ticket)

    def busy(self, *keys: str) -> list[Ticket]:
        """Loaded, and each with a request that it serves."""
        tickets = [self.ask(key) for key in keys]
        for key in keys:
            self.load(key)
        return tickets

    def fail(self, error: RemudaError = NO, key: str = "m", *, counts: bool = True) -> Ticket:
        """Somebody asks, and the load fails."""
        ticket = self.ask(key)
        while key not in self.loads:
            if self.weighs:
                self.weighed()
            else:
                due = self.desk.deadline(self.now)
                assert due is not None
                self.sleep(due - self.now)
        self.load_failed(error, key, counts=counts)
        return ticket

    # what there is

    def error(self, ticket: Ticket) -> RemudaError:
        """What it was refused with."""
        return self.refused[ticket.id]

    def free(self) -> int | None:
        """As the system would tell: mapped files count as free."""
        if self.memory is None:
            return None
        return self.memory - sum(one.need.memory - one.need.mapped for one in self.running.values() if one.need)

    def room(self, weigh: Weigh) -> Room:
        return Room(need=self.need(weigh.key, weigh.wish), memory=self.free())

    def need(self, key: Hashable, want: LoadWish) -> Estimate | None:
        own = self.weights.get(key)
        return None if own is None else Estimate(memory=own + want.context, mapped=own // 2)

    def state(self, key: Hashable = "m") -> State:
        return self.desk.seats[key].state

    def on(self, key: Hashable) -> list[Ticket]:
        return [ticket for id, ticket in self.active.items() if self.key_of[id] == key]

    # what must hold

    def take(self) -> None:
        """What the scheduler wants now, and whether it may."""
        for effect in self.desk.effects():
            match effect:
                case Weigh():
                    self.weighs.append(effect)
                    self.rooms[effect] = self.room(effect)
                case Load(key):
                    assert key not in self.loads, "two loads at a time"
                    assert key not in self.running, "loaded twice"
                    self.loads[key] = effect
                    self.log.append(("load", key))
                    self._check_room()
                case Unload(key):
                    assert key in self.running, "there is nothing to unload"
                    assert key not in self.unloads, "unloaded twice"
                    assert not self.on(key), "a busy model leaves"
                    self.unloads.add(key)
                    self.log.append(("unload", key))
                case Grant(key, ticket):
                    self._granted(key, ticket)
                case Refuse(ticket, error):
                    del self.waiting[ticket.id]
                    self.refused[ticket.id] = error
        self.check()

    def _check_room(self) -> None:
        most = self.desk.limits.max_loaded
        assert not most or len(self.loads) + len(self.running) <= most, "too many models"
        if self.memory is not None:
            needs = [one.need for one in self.running.values()] + [
                self.need(key, load.wish) for key, load in self.loads.items()
            ]
            assert sum(need.memory for need in needs if need) <= self.memory, "more than there is"

    def _granted(self, key: Hashable, ticket: Ticket) -> None:
        model = self.running[key]
        assert not model.dead, "granted a model that is not there"
        assert key not in self.unloads, "granted a model that is leaving"
        assert not must_grow(model.context, ticket.wish), "granted a model that is too small"
        alike = (key, ticket.client, ticket.lane, ticket.priority)
        for other in self.waiting.values():
            if (self.key_of[other.id], other.client, other.lane, other.priority) == alike:
                assert other.id >= ticket.id, "overtaken by its own"
        self.active[ticket.id] = self.waiting.pop(ticket.id)
        self.granted.append(ticket.id)
        lanes = Counter(other.lane for other in self.on(key))
        assert lanes["generate"] <= model.parallel, "too many at a time"
        assert lanes["embed"] <= EMBEDS, "too many at a time"

    def check(self) -> None:
        for key, seat in self.desk.seats.items():
            self._check_seat(key, seat)
        known = {id for id, seat in self.desk._seat_of.items() if seat.key == self.key_of[id]}
        assert known == self.waiting.keys() | self.active.keys() == self.desk._seat_of.keys()
        due = self.desk.deadline(self.now)
        assert due is None or due > self.now, "the alarm is late"
        if self.waiting:
            expected = self.weighs or self.loads or self.unloads or self.active or (due or math.inf) < math.inf
            assert expected, "nothing to wait for"

    def _check_seat(self, key: Hashable, seat: Seat) -> None:
        here = {id for id in self.waiting if self.key_of[id] == key}
        assert {ticket.id for ticket in seat.tickets()} == here
        assert seat.waiting == len(here)
        assert seat.active.keys() == {ticket.id for ticket in self.on(key)}
        assert (seat.state is State.LOADING) == (key in self.loads)
        assert seat.closing == (key in self.unloads)
        loaded = seat.state in {State.READY, State.DRAINING}
        model = self.running.get(key)
        assert loaded <= (model is not None), "nothing is there"
        assert (model is not None and not loaded) <= (seat.closing), "lost"
        assert (loaded and seat.closing) <= (seat.state is State.DRAINING)
        assert (seat.state is State.DRAINING) <= (seat.closing or bool(seat.active)), "drains for nobody"
        yields = self.desk._yields is not None and self.desk._yields.seat.key == key
        if seat.state is State.DRAINING and not seat.closing:
            heads = [seat.next(lane, None) for lane in LANES]
            assert yields or any(head and seat.grows(head) for head in heads), "drains for nothing"
        if seat.state is State.READY:
            assert yields or not any(seat.next(lane, None) for lane in LANES), "there is a place, and one who waits"
            assert not seat.idle or seat.expires > self.now or self.desk._closed, "its time was up"
        assert (seat.state is State.QUARANTINED) <= (not here), "waits for one that is left alone"
        queues = seat.queues.values()
        assert here or not any(queue._waiting or queue._since or queue._groups for queue in queues), "a leak"


def _fields(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}


def banned(quarantine: float = 60.0) -> World:
    """A world with one model, in quarantine."""
    world = World(limits=Limits(quarantine=quarantine))
    for _ in range(3):
        world.fail()
    assert world.state() is State.QUARANTINED
    return world
