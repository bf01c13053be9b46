"""All models in memory, and all who wait for one: the scheduler's owner, and the one door through which models come
and go.

Everything that happens is an input of the scheduler (`desk`), handed over in one turn: it hears the input, and what
it then wants is begun. A turn never waits, so that there are no two at once, and a model that is free is granted before
its request has let anybody else run. Each effect that takes time is a task of its own, which ends with one more input.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from typing import Any, Final

from msgspec import Struct

from ..backend import LoadedModel, LoadWish
from ..errors import EngineMissing, LoadFailed, RemudaError, RunnerDied
from ..job import Client
from ..model import ModelEntry, ModelName
from ..model.entry import NO_WEIGHTS
from ..wire.keep_alive import LONGEST
from .clock import Alarm, Clock, LoopClock
from .desk import Desk
from .effects import Effect, Effects, Grant, Key, Load, Refuse, Room, Unload, Weigh
from .lease import Lease, Wait
from .queue import Lane, Ticket
from .rules import Limits, expiry
from .seat import Seat
from .states import State

__all__ = ["Asked", "Herd", "Queued", "Resident"]

_log = logging.getLogger("remuda.residency")
_Input = Callable[[float], None]
_ANYTHING: Final = (Exception, asyncio.CancelledError)
"""A backend may let the cancelling of its own tasks through."""


class Asked(Struct, frozen=True, kw_only=True):
    """A request for a model."""

    entry: ModelEntry
    backend: str
    wish: LoadWish
    lane: Lane = "generate"
    client: Client = Client()
    priority: int = 0
    keep_alive: float | None = None
    """Seconds, `math.inf` for ever; None leaves it to the model."""


class Resident(Struct, frozen=True, kw_only=True):
    """A model that is in memory, or is on its way there or out."""

    entry: ModelEntry
    """As it was loaded: another name for the same files may have been asked for since."""
    state: State
    model: LoadedModel | None
    """None while it is loading."""
    expires_at: float
    """POSIX time when it will leave; for a model in use, when it would if it became idle now."""
    waiting: int
    size: int
    """Bytes, as far as known."""
    context: int
    """Tokens of one sequence, asked for or had."""


class Queued(Struct, frozen=True, kw_only=True):
    """A request that waits."""

    entry: ModelEntry
    position: int
    seconds: float
    """For so long."""


class Herd:
    def __init__(self, effects: Effects, limits: Limits, clock: Clock | None = None) -> None:
        self._do, self._clock = effects, clock or LoopClock()
        self._desk = Desk(limits, self._keep_alive)
        self._homes: dict[Key, tuple[ModelEntry, str]] = {}
        self._models: dict[Key, LoadedModel] = {}
        self._watches: dict[Key, asyncio.Task[None]] = {}
        self._leases: dict[int, Lease] = {}
        self._farewells: dict[Key, list[asyncio.Future[None]]] = {}
        self._ids = itertools.count(1)
        self._work: set[asyncio.Task[None]] = set()
        self._alarm: Alarm | None = None
        self._closed = False

    @property
    def limits(self) -> Limits:
        return self._desk.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        """Act from the next decision on; what is loaded stays."""
        self._desk.limits = limits
        self._turn(self._desk.tick)

    @asynccontextmanager
    async def use(self, asked: Asked) -> AsyncGenerator[Lease, None]:
        """A place in the queue, and then the model, which stays at least until the block ends.

        `Lease.model` raises `ServerBusy`, `Quarantined`, `WaitedTooLong`, `Draining` or whatever the load raised.
        """
        now, limits = self._clock.now(), self._desk.limits
        ticket = Ticket(
            id=next(self._ids),
            wish=asked.wish,
            lane=asked.lane,
            client=asked.client,
            priority=asked.priority,
            keep_alive=asked.keep_alive,
            arrived=now,
            deadline=now + limits.queue_timeout if limits.queue_timeout else None,
        )
        lease = self._leases[ticket.id] = Lease(ticket, self._look)
        self._turn(partial(self._ask, asked.entry, asked.backend, ticket))
        try:
            yield lease
        finally:
            del self._leases[ticket.id]
            self._turn(partial(self._end, ticket, lease.done))

    async def leave(self, entry: ModelEntry, backend: str) -> None:
        """Unload now if idle, and return when it is gone; else let it leave as soon as it becomes idle.

        A quarantine ends, too.
        """
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turn(partial(self._leave, _key(entry, backend), gone))
        await gone

    def dismiss(self, name: ModelName) -> None:
        """There is no model of that name any more: what was loaded as it leaves as soon as it is idle."""
        self._turn(partial(self._dismiss, name, None))

    def residents(self) -> list[Resident]:
        """The models in memory, longest remaining first; without those that nobody can use any more."""
        seats = self._desk.seats.values()
        found = [self._resident(seat) for seat in seats if seat.takes_memory and not seat.closing]
        return sorted(found, key=lambda resident: resident.expires_at, reverse=True)

    def queued(self) -> list[Queued]:
        """The requests that wait, longest waiting first."""
        now = self._clock.now()
        waiting = [(ticket, seat) for seat in self._desk.seats.values() for ticket in seat.tickets()]
        return [
            Queued(
                entry=self._homes[seat.key][0],
                position=self._desk.position(ticket) or 1,
                seconds=max(0.0, now - ticket.arrived),
            )
            for ticket, seat in sorted(waiting, key=lambda pair: pair[0].id)
        ]

    async def close(self) -> None:
        """Unload all, at once. Whoever waits is told that the server is going; who has a model loses it."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._desk.close()
        self._perform()
        for task in (*self._work, *self._watches.values()):
            task.cancel()
        if tasks := [*self._work, *self._watches.values()]:
            await asyncio.wait(tasks)
        await asyncio.gather(*(model.close() for model in self._models.values()), return_exceptions=True)
        self._models.clear()
        for gone in itertools.chain.from_iterable(self._farewells.values()):
            _resolve(gone)

    def _turn(self, what: _Input) -> None:
        try:
            what(self._clock.now())
        except Exception:
            _log.exception("the scheduler failed at an input")
        self._perform()
        if not self._closed:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        when = self._desk.deadline(self._clock.now())
        finite = when is not None and not math.isinf(when)
        self._alarm = self._clock.call_at(when, lambda: self._turn(self._desk.tick)) if finite and when else None

    def _ask(self, entry: ModelEntry, backend: str, ticket: Ticket, now: float) -> None:
        key = _key(entry, backend)
        seat = self._desk.seats.get(key)
        if seat is None or not seat.takes_memory:
            self._homes[key] = (entry, backend)
        self._bury(key, now)
        self._dismiss(entry.name, key, now)
        self._desk.ask(now, key, str(entry.name), ticket)
        if len(self._homes) > len(self._desk.seats):
            self._homes = {key: home for key, home in self._homes.items() if key in self._desk.seats}

    def _dismiss(self, name: ModelName, but: Key, now: float) -> None:
        """What was loaded as `name` goes once it is idle, unless it is what that name means now."""
        for key, (entry, _) in self._homes.items():
            seat = self._desk.seats.get(key)
            if key != but and entry.name == name and seat is not None and seat.takes_memory:
                self._desk.unload(now, key)

    def _end(self, ticket: Ticket, served: bool, now: float) -> None:
        if (seat := self._desk.seat_of(ticket)) is not None:
            self._bury(seat.key, now)
        self._desk.end(now, ticket, served=served)

    def _bury(self, key: Key, now: float) -> None:
        """A model may be dead before it tells, and not every one can: nobody shall be granted it."""
        if (model := self._models.get(key)) is not None and not model.alive:
            self._desk.died(now, key, RunnerDied().message)

    def _leave(self, key: Key, gone: asyncio.Future[None], now: float) -> None:
        self._desk.unload(now, key)
        seat = self._desk.seats.get(key)
        if seat is not None and seat.closing and not self._closed:
            self._farewells.setdefault(key, []).append(gone)
        else:
            _resolve(gone)

    def _perform(self) -> None:
        for effect in self._desk.effects():
            try:
                self._perform_one(effect)
            except Exception:
                _log.exception("the scheduler's wish could not be met: %r", effect)

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Grant(key, ticket):
                if lease := self._leases.get(ticket.id):
                    lease.grant(self._models[key])
            case Refuse(ticket, error):
                if lease := self._leases.get(ticket.id):
                    lease.refuse(error)
            case Weigh():
                self._start(self._weigh(effect))
            case Load(key, wish):
                self._start(self._load(key, wish))
            case Unload(key):
                self._start(self._unload(key))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = _task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _weigh(self, weigh: Weigh) -> None:
        room = Room(need=None)
        try:
            room = await self._do.weigh(*self._homes[weigh.key], weigh.wish)
        except _ANYTHING as error:
            self._survive("what a model needs could not be found out", error)
        self._turn(lambda now: self._desk.weighed(now, weigh, room))

    async def _load(self, key: Key, wish: LoadWish) -> None:
        entry, backend = self._homes[key]
        began = self._clock.now()
        try:
            model = self._models[key] = await self._do.load(entry, backend, wish, partial(self._desk.told, key))
        except RemudaError as error:
            _log.warning("%s could not be loaded: %s", entry.name, error)
            self._load_failed(key, error)
            return
        except _ANYTHING as error:
            self._survive(f"{entry.name} could not be loaded", error)
            self._load_failed(key, LoadFailed(f"the backend {backend!r} raised {type(error).__name__} while loading"))
            return
        size = 0
        try:
            size = (await model.stats()).size
        except _ANYTHING as error:
            self._survive(f"{entry.name} does not say what it holds", error)
        self._watches[key] = _task(self._watch(key, model))
        _log.info("%s loaded in %.2f s, context %d", entry.name, self._clock.now() - began, model.context)
        self._turn(lambda now: self._desk.loaded(now, key, model.context, model.parallel, size))

    def _load_failed(self, key: Key, error: RemudaError) -> None:
        counts = not isinstance(error, EngineMissing)
        self._turn(lambda now: self._desk.load_failed(now, key, error, counts=counts))

    async def _watch(self, key: Key, model: LoadedModel) -> None:
        try:
            words = RunnerDied(await model.ended()).message
        except Exception:
            _log.exception("%s cannot be watched any more", self._homes[key][0].name)
        else:
            self._turn(lambda now: self._desk.died(now, key, words))

    async def _unload(self, key: Key) -> None:
        if (model := self._models.get(key)) is not None:
            try:
                await model.close()
            except _ANYTHING as error:
                self._survive(f"{self._homes[key][0].name} could not be unloaded properly", error)
            del self._models[key]
            self._watches.pop(key).cancel()  # not before: a dead one may still say why
            _log.info("%s unloaded", self._homes[key][0].name)

        def gone(now: float) -> None:
            self._desk.unloaded(now, key)
            for one in self._farewells.pop(key, ()):
                _resolve(one)

        self._turn(gone)

    def _keep_alive(self, seat: Seat) -> float:
        try:
            return self._do.keep_alive(*self._homes[seat.key], seat.use)
        except Exception:
            _log.exception("nobody says how long %s is to stay", seat.name)
            return seat.asked or 0.0

    def _survive(self, what: str, error: BaseException) -> None:
        """Whatever an effect raises is its own trouble, unless it was cancelled from here."""
        if self._closed:
            raise error
        _log.error(what, exc_info=error)

    def _look(self, ticket: Ticket) -> Wait | None:
        seat, position = self._desk.seat_of(ticket), self._desk.position(ticket)
        if seat is None or position is None:
            return None
        return Wait(position, (seat.progress or 0.0) if seat.state is State.LOADING else None, seat.size)

    def _resident(self, seat: Seat) -> Resident:
        now = self._clock.now()
        at = expiry(now, self._keep_alive(seat)) if seat.active or seat.state is State.LOADING else seat.expires
        model = self._models.get(seat.key)
        assert seat.wish is not None
        return Resident(
            entry=self._homes[seat.key][0],
            state=seat.state,
            model=model,
            expires_at=time.time() + min(max(at - now, 0.0), LONGEST),
            waiting=seat.waiting,
            size=seat.size,
            context=model.context if model else seat.wish.context,
        )


def _key(entry: ModelEntry, backend: str) -> Key:
    """Two names for the same weights, projector, adapters and draft model share one; without weights each has one."""
    if entry.weights == NO_WEIGHTS:
        return backend, entry.name.key
    return backend, entry.weights, entry.projector, entry.adapters, entry.draft


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Knows nothing of the request in whose turn it began: others may need what it does."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def _resolve(gone: asyncio.Future[None]) -> None:
    if not gone.done():
        gone.set_result(None)
