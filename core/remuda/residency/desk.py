"""The scheduler: which models are in memory, and which request is served when. Pure: no clock, no process, no loop.

Inputs are the methods that take `now`; what is to be done about them is asked for with `effects`. Whoever does it
reports back through another input. `deadline` is when `tick` is due.

Theory of operation. A request waits in the queue of its model, for its turn and for the model. A model that is not
there is loaded as soon as there is room: a place among `max_loaded`, and memory. Models that want room get it by turns
of the clients whose requests have waited longest for each, so that none starves. Room is made by the idle model that is
least worth keeping; where all are busy, one serves those who came before, and those who waited when it was loaded, and
then leaves. Of one client with many requests it serves only a few more, unless it is the one that wants the room. So a
busy model is never taken from those it serves, and two models that want the same room take turns. Everything follows
from the state after each input: the same walk over all models decides each time anew who is granted, who leaves, who is
loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ..backend import LoadWish
from ..errors import Draining, OutOfMemory, Quarantined, RemudaError, ServerBusy, WaitedTooLong
from .effects import Effect, Grant, Key, Load, Refuse, Room, Unload, Weigh
from .queue import LANES, Rank, Ticket
from .room import lacking
from .rules import WINDOW, Limits, Trouble, after_failure, expiry, less_context, widest, worth
from .seat import Seat
from .states import State, Step
from .turns import Turns
from .yielding import Yielding

__all__ = ["Desk"]

_REMEMBERED: Final = 200
"""Models that are known without being loaded, for the rhythm of their requests."""


class Desk:
    def __init__(self, limits: Limits, keep_alive: Callable[[Seat], float]) -> None:
        """`keep_alive` says how many seconds a model stays that has just become idle."""
        self.limits = limits
        self._keep_alive = keep_alive
        self.seats: dict[Key, Seat] = {}
        self._seat_of: dict[int, Seat] = {}
        """Of every ticket that waits or is active."""
        self._effects: list[Effect] = []
        self._yields: Yielding | None = None
        """The busy model that makes room, if one does."""
        self._turns = Turns()
        self._moment = 0
        """Counts what changes the memory in use: a weighing is good until then."""
        self._closed = False

    def effects(self) -> list[Effect]:
        """What is to be done since the last call, in this order."""
        effects, self._effects = self._effects, []
        return effects

    def ask(self, now: float, key: Key, name: str, ticket: Ticket) -> None:
        """A request came. `Grant` or `Refuse` follows, now or later, unless `end` comes first."""
        if key not in self.seats:
            self._forget()
        seat = self.seats.setdefault(key, Seat(key, name))
        seat.name = name if not seat.takes_memory else seat.name
        seat.arrive(now)
        if self._closed:
            return self._refuse(ticket, Draining())
        if now >= _free(seat):
            seat.move(Step.RELEASE)
        if seat.state is State.QUARANTINED:
            return self._refuse(ticket, Quarantined(name, seat.trouble.not_before - now, seat.fault))
        if seat.waiting >= self.limits.queue:
            crowder = seat.queues[ticket.lane].crowder(ticket)
            if crowder is None:
                return self._refuse(ticket, ServerBusy())
            self._refuse_all(seat, ServerBusy(), [crowder])
        if not seat.waiting and seat.state is not State.LOADING:
            seat.bound = seat.weighing = None  # what was found out for those who left may not be true any more
        seat.queues[ticket.lane].add(ticket)
        self._seat_of[ticket.id] = seat
        return self._decide(now)

    def end(self, now: float, ticket: Ticket, *, served: bool) -> None:
        """A request is over, granted or not; `served` if the model did for it what it is there for."""
        seat = self._seat_of.pop(ticket.id, None)
        if seat is None:
            return
        if seat.active.pop(ticket.id, None) is None:
            seat.queues[ticket.lane].remove(ticket)
        elif served:
            seat.trouble = Trouble()
        if seat.unused and not seat.closing:
            self._rest(seat, now)
        self._decide(now)

    def weighed(self, now: float, weigh: Weigh, room: Room) -> None:
        seat = self.seats.get(weigh.key)
        if seat is not None and seat.weighing == weigh:
            seat.room = room
            self._decide(now)

    def told(self, key: Key, progress: float) -> None:
        """How much of a load is done, 0 to 1."""
        if (seat := self.seats.get(key)) is not None:
            seat.progress = progress

    def loaded(self, now: float, key: Key, context: int, parallel: int | None, size: int) -> None:
        """`parallel` None is as many as were wished for; `size` in bytes, 0 if it is not known."""
        seat = self.seats[key]
        seat.move(Step.LOADED)
        assert seat.wish is not None
        # It may have less than was wished for, where the model was trained for less: asking again would be in vain.
        seat.context = max(context, seat.wish.context)
        seat.parallel = max(1, parallel or seat.wish.parallel)
        seat.size = size or seat.size
        seat.load_seconds = now - seat.began
        seat.bound = None
        seat.promised = max((ticket.id for ticket in seat.tickets()), default=0)
        if seat.idle:
            self._rest(seat, now)
        self._memory_changed()
        self._decide(now)

    def load_failed(self, now: float, key: Key, error: RemudaError, *, counts: bool = True) -> None:
        """All who wait for the model are told. With `counts` it is held against the model.

        Want of memory is only where nobody asks for more of it than there must be.
        """
        seat = self.seats[key]
        assert seat.wish is not None
        short = isinstance(error, OutOfMemory)
        least = seat.bound is not None or less_context(seat.wish) is None
        hopeless = least and seat.wish.automatic and all(ticket.wish.automatic for ticket in seat.tickets())
        seat.move(Step.FAIL if counts and (hopeless or not short) else Step.GONE)
        if seat.state is State.FAILED:
            self._failed(seat, now, error.message)
        if short:
            self._take_less(seat, seat.wish, error)
        else:
            seat.bound = None
            self._refuse_all(seat, error)
        if not seat.waiting:
            seat.asked, seat.dismissed = None, False
        self._memory_changed()
        self._decide(now)

    def died(self, now: float, key: Key, words: str) -> None:
        """A loaded model has ended by itself. The requests that it served know already."""
        seat = self.seats[key]
        if seat.closing and seat.state in {State.FAILED, State.QUARANTINED}:
            seat.fault = words  # its death was known before its last words
        if seat.closing or seat.state not in {State.READY, State.DRAINING}:
            return
        for id in seat.active:
            del self._seat_of[id]
        seat.active.clear()
        seat.move(Step.DIE)
        self._failed(seat, now, words)
        if seat.state is State.QUARANTINED:
            self._refuse_all(seat, Quarantined(seat.name, seat.trouble.not_before - now, seat.fault))
        self._close(seat, now)
        self._decide(now)

    def unload(self, now: float, key: Key) -> None:
        """Somebody wants the model gone: now if it is idle, else as soon as it is. A quarantine ends."""
        seat = self.seats.get(key)
        if seat is None:
            return
        seat.asked, seat.dismissed, seat.trouble = 0.0, True, Trouble()
        if seat.state in {State.FAILED, State.QUARANTINED}:
            seat.move(Step.RELEASE)
        if seat.idle:
            self._rest(seat, now)
        if not seat.takes_memory:
            seat.asked, seat.dismissed = None, False
        self._decide(now)

    def unloaded(self, now: float, key: Key) -> None:
        seat = self.seats[key]
        seat.closing = False
        if seat.state is State.DRAINING:
            seat.move(Step.GONE)
        seat.asked, seat.dismissed, seat.progress, seat.context = None, False, None, 0
        self._memory_changed()
        self._decide(now)

    def tick(self, now: float) -> None:
        """To be called at `deadline`, or later."""
        for seat in list(self.seats.values()):
            if now >= _free(seat):
                seat.move(Step.RELEASE)
            for ticket in list(seat.tickets()):
                if ticket.deadline is not None and ticket.deadline <= now:
                    self._refuse_all(seat, WaitedTooLong(ticket.deadline - ticket.arrived), [ticket])
        self._decide(now)

    def close(self) -> None:
        """Nobody is granted anything any more."""
        self._closed = True
        for seat in self.seats.values():
            self._refuse_all(seat, Draining())

    def deadline(self, now: float) -> float | None:
        """When something happens that nobody reports."""
        return min((at for seat in self.seats.values() for at in _deadlines(seat) if at > now), default=None)

    def position(self, ticket: Ticket) -> int | None:
        """About how many turns until a waiting ticket's own, 1 for the next one; None if it does not wait."""
        seat = self._seat_of.get(ticket.id)
        return None if seat is None or ticket.id in seat.active else seat.queues[ticket.lane].position(ticket)

    def seat_of(self, ticket: Ticket) -> Seat | None:
        return self._seat_of.get(ticket.id)

    def _decide(self, now: float) -> None:
        if self._closed:
            return
        self._serve_all(now)
        before = self._yields
        self._fill(now)
        if self._yields != before:
            self._serve_all(now)

    def _serve_all(self, now: float) -> None:
        for seat in self.seats.values():
            if seat.state in {State.READY, State.DRAINING} and not seat.closing:
                self._serve(seat, now)

    def _serve(self, seat: Seat, now: float) -> None:
        """Grant what may be granted; then leave, if it is time to."""
        yields = self._yields if self._yields is not None and self._yields.seat is seat else None
        allowed = yields.allows if yields is not None else None
        heads = [seat.next(lane, allowed) for lane in LANES]
        grows = any(head is not None and seat.grows(head) for head in heads)
        while not grows and any(heads):
            for head in filter(None, heads):
                self._grant(seat, head)
                if yields is not None:
                    yields.granted[head.client] += 1
            heads = [seat.next(lane, allowed) for lane in LANES]
            grows = any(head is not None and seat.grows(head) for head in heads)
        held = allowed is not None and not any(map(allowed, seat.tickets()))
        over = not seat.waiting and not seat.active and seat.expires <= now
        leaves = grows or held or over
        if leaves != (seat.state is State.DRAINING):
            seat.move(Step.DRAIN if leaves else Step.KEEP)
        if leaves and not seat.active:
            seat.behind = yields.head.rank if yields is not None else None
            self._close(seat, now)

    def _fill(self, now: float) -> None:
        """Load what is waited for, the longest waited for first, as far as there is room."""
        starving = [
            seat
            for seat in self.seats.values()
            if not seat.closing
            and seat.state in {State.ABSENT, State.FAILED}
            and seat.trouble.not_before <= now
            and seat.waiting
        ]
        yields, self._yields = self._yields, None
        for seat in sorted(starving, key=self._turn):
            if not self._place(seat, yields, now):
                break

    def _turn(self, seat: Seat) -> tuple[int, tuple[int, int], tuple[Rank, bool]]:
        """Where it stands among models that want room, the smallest first."""
        assert seat.head is not None
        return -seat.head.priority, self._turns.of(seat.head.client), seat.turn

    def _place(self, seat: Seat, yields: Yielding | None, now: float) -> bool:
        """Whether the next one may be looked at: this one is loaded, or refused."""
        others = [other for other in self.seats.values() if other.takes_memory]
        if self.limits.max_loaded and len(others) >= self.limits.max_loaded:
            self._make_room(others, seat, yields, now)
            return False
        wish = widest((ticket.wish for ticket in seat.tickets()), seat.bound)
        weigh = Weigh(seat.key, wish, self._moment)
        if seat.weighing != weigh:
            seat.weighing, seat.room = weigh, None
            self._effects.append(weigh)
        if seat.room is None:
            self._yields = yields  # until it is known whether it still must
            return False
        if lacking(seat.room, others) is None:
            self._load(seat, wish, now)
            return True
        if (never := lacking(seat.room, others, alone=True)) is not None:
            self._take_less(seat, wish, OutOfMemory(never))
            return not seat.waiting or self._place(seat, yields, now)
        self._make_room(others, seat, yields, now)
        return False

    def _make_room(self, others: list[Seat], starving: Seat, yields: Yielding | None, now: float) -> None:
        """One model leaves, or none if one is leaving already."""
        if any(other.closing for other in others):
            return
        if idle := [other for other in others if other.idle]:
            victim = min(idle, key=lambda seat: _value(seat, now))
            victim.move(Step.DRAIN)
            self._close(victim, now)
            return
        # One that is still loading serves those who wait for it first: else two models might be loaded in turn, each
        # for one request.
        head = starving.head
        assert head is not None
        busy = [Yielding(other, head) for other in others if other.state in {State.READY, State.DRAINING}]
        if yields is not None and any(yields.seat is other.seat for other in busy):
            self._yields = yields if yields.head == head else Yielding(yields.seat, head, yields.granted)
        elif busy:
            self._yields = min(busy, key=lambda each: (each.left, _value(each.seat, now)))

    def _load(self, seat: Seat, wish: LoadWish, now: float) -> None:
        assert seat.head is not None
        self._turns.take(seat.head.client, (one.client for each in self.seats.values() for one in each.tickets()))
        seat.move(Step.LOAD)
        seat.wish, seat.began, seat.progress, seat.expires, seat.behind = wish, now, None, math.inf, None
        seat.need = seat.room.need if seat.room else None
        seat.size = seat.need.memory + seat.need.gpu if seat.need else 0
        self._effects.append(Load(seat.key, wish))
        self._memory_changed()

    def _grant(self, seat: Seat, ticket: Ticket) -> None:
        seat.queues[ticket.lane].take(ticket)
        seat.active[ticket.id] = ticket
        if ticket.keep_alive is not None:
            seat.asked, seat.dismissed = ticket.keep_alive, False
        self._effects.append(Grant(seat.key, ticket))

    def _rest(self, seat: Seat, now: float) -> None:
        """`seat` has become idle."""
        seat.expires = expiry(now, 0.0 if seat.dismissed else self._keep_alive(seat))

    def _close(self, seat: Seat, now: float) -> None:
        seat.closing, seat.expires = True, now
        self._effects.append(Unload(seat.key))

    def _failed(self, seat: Seat, now: float, words: str) -> None:
        seat.trouble, seat.fault = after_failure(seat.trouble, now, self.limits), words
        if seat.trouble.banned:
            seat.move(Step.BAN)

    def _take_less(self, seat: Seat, wish: LoadWish, error: RemudaError) -> None:
        """There is no memory for `wish`: once less is tried, then those who want no less are told, or else all."""
        seat.bound = less_context(wish) if seat.bound is None else None
        if seat.bound is None:
            explicit = [ticket for ticket in seat.tickets() if not ticket.wish.automatic]
            self._refuse_all(seat, error, [t for t in explicit if t.wish.context >= wish.context] or None)

    def _refuse(self, ticket: Ticket, error: RemudaError) -> None:
        self._effects.append(Refuse(ticket, error))

    def _refuse_all(self, seat: Seat, error: RemudaError, tickets: Iterable[Ticket] | None = None) -> None:
        """`tickets` are all that wait for the model if it is None."""
        tickets = seat.tickets() if tickets is None else tickets
        for ticket in sorted(tickets, key=lambda ticket: ticket.id):
            seat.queues[ticket.lane].remove(ticket)
            del self._seat_of[ticket.id]
            self._refuse(ticket, error)

    def _memory_changed(self) -> None:
        self._moment += 1

    def _forget(self) -> None:
        gone = [seat for seat in self.seats.values() if seat.state is State.ABSENT and not seat.closing]
        gone = [seat for seat in gone if not seat.waiting]
        for seat in sorted(gone, key=lambda seat: seat.arrived or 0.0)[: max(0, len(gone) - _REMEMBERED)]:
            del self.seats[seat.key]


def _free(seat: Seat) -> float:
    """When a quarantine ends, or a failure is forgotten; infinity for a model that has no such thing."""
    if seat.state is State.QUARANTINED:
        return seat.trouble.not_before
    if seat.state is State.FAILED and not seat.waiting and not seat.closing:
        return max((at + WINDOW for at in seat.trouble.failures), default=0.0)
    return math.inf


def _deadlines(seat: Seat) -> Iterator[float]:
    yield _free(seat)
    if seat.idle:
        yield seat.expires
    if seat.state is State.FAILED and seat.waiting:
        yield seat.trouble.not_before
    yield from (ticket.deadline for ticket in seat.tickets() if ticket.deadline is not None)


def _value(seat: Seat, now: float) -> tuple[bool, float]:
    """What it is worth keeping; one that is to stay for ever leaves last."""
    idle = now - seat.arrived if seat.arrived is not None else 0.0
    pinned = seat.asked == math.inf or (seat.idle and seat.expires == math.inf)
    return pinned, worth(seat.load_seconds, idle, seat.gaps)
