"""The places that upstreams have for requests: who gets one, who waits for one, and what it says about health when one
is given back.

Nobody waits while a place that suits is free: whatever frees a place, or makes one suit, calls `settle`, which hands it
to whoever's turn it is before anybody else can take it. Nobody waits in vain either: whatever takes an upstream out of
use has `settle` refuse those who could only have gone there.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

from remuda.errors import Draining, ModelNotFound, NotFound, RemudaError, Unavailable, WaitedTooLong

from .affinity import Affinity, marks
from .choice import choose
from .faults import Fault, Refused
from .upstream import Pause, Upstream
from .waiting import Line, Request, Waiter

__all__ = ["Place", "Places"]

_WORDS: Final = 300
"""Characters of a failure that another error repeats."""


class Place:
    """A place at an upstream, held until `done`, `left` or `failed` gives it back; whatever is called later does
    nothing."""

    __slots__ = ("_held", "_places", "_trial", "offer", "quiet", "request", "upstream")

    def __init__(self, places: Places, request: Request, upstream: Upstream, trial: int) -> None:
        self.request, self.upstream = request, upstream
        self.offer = upstream.offers[request.key]
        self.quiet = False
        """The attempt was given up here: whatever comes of it says nothing about the upstream."""
        self._places, self._trial, self._held = places, trial, True

    def began(self) -> None:
        """An answer has begun; the place is still held."""
        trial, self._trial = self._trial, 0
        self.upstream.began(self.request.wanted.name, trial)
        self._places.began(self.request, self.upstream, back=trial != 0)

    def done(self) -> None:
        """The answer was whole, or what was read of it went well."""
        if self._free():
            self.upstream.well(self.request.wanted.name)
            self._places.settle()

    def left(self) -> None:
        """Nothing can be said about how it went."""
        if self._free():
            self.upstream.breaker.abandoned(self._trial)
            self._places.settle()

    def failed(self, fault: Fault) -> None:
        if self.quiet:
            self.left()
        elif self._free():
            self._places.failed(self.request, self.upstream, fault, self._trial)

    def _free(self) -> bool:
        held, self._held = self._held, False
        if held:
            del self.upstream.active[self.request.number]
            self._places.freed(self.upstream)
        return held


class Places:
    def __init__(
        self, clock: Callable[[], float], missing: Callable[[Upstream], None], emptied: Callable[[Upstream], None]
    ) -> None:
        """`missing` is told of an upstream that turned out not to have a model, `emptied` of a retired one that is
        idle now."""
        self._clock, self._missing, self._emptied = clock, missing, emptied
        self._line = Line()
        self._affinity = Affinity()
        self._turn = 0.0
        self.upstreams: Sequence[Upstream] = ()
        self.affine = True
        self.most, self.timeout = 512, 0.0
        """`limits.queue` and `limits.queue_timeout`."""

    def waiters(self) -> list[Waiter]:
        return list(self._line)

    def waiting(self, upstream: Upstream) -> int:
        """How many wait that it could serve."""
        return sum(_suits(waiter.request, upstream) for waiter in self._line)

    async def get(self, request: Request) -> Place:
        """The best place for the request, or the first that suits when its turn comes."""
        return self.now(request) or await self._wait(request)

    def now(self, request: Request) -> Place | None:
        """The best place for the request; None if all that suit are taken. Raises why none will suit."""
        usable = self._usable(request, self._clock())
        free = [upstream for upstream in usable if not upstream.full]
        return self._take(request, self._choose(request, free)) if free else None

    def spare(self, request: Request) -> Place | None:
        """As `now`, None also for any other reason that there is no place."""
        try:
            return self.now(request)
        except RemudaError:
            return None

    def close(self) -> None:
        """Nobody waits any more."""
        for waiter in self._line:
            self.refuse(waiter, Draining())

    def refuse(self, waiter: Waiter, error: RemudaError) -> None:
        self._line.leave(waiter)
        waiter.outcome.set_result(error)

    def settle(self, *, lost: bool = False) -> None:
        """Places may have become free. With `lost` upstreams may have fallen out of use."""
        if not self._line:
            return
        now = self._clock()
        for upstream in self.upstreams:
            while not upstream.full and upstream.breaker.admits(now):
                waiter = self._line.take(upstream.active.values(), lambda request, to=upstream: _fits(request, to, now))
                if waiter is None:
                    break
                waiter.outcome.set_result(self._take(waiter.request, upstream))
        if lost:
            for waiter in self._line:
                try:
                    self._usable(waiter.request, now)
                except RemudaError as error:
                    self.refuse(waiter, error)

    def began(self, request: Request, upstream: Upstream, *, back: bool) -> None:
        if self.affine and len(self.upstreams) > 1:
            self._affinity.remember(self._marks(request), upstream.name)
        if back:
            self.settle()

    def failed(self, request: Request, upstream: Upstream, fault: Fault, trial: int) -> None:
        now, name = self._clock(), request.wanted.name
        if isinstance(fault, Refused) and fault.own:
            upstream.breaker.abandoned(trial)
            # One request that no server can answer must not tell on several.
            upstream.stumbled(name, fault, now, first=upstream is request.tried[0])
        elif fault.counts:
            upstream.failed(fault, now, trial)
        else:
            upstream.breaker.abandoned(trial)
        if isinstance(fault, Refused):
            if fault.pause:
                upstream.pause(name, now + fault.pause, fault)
            if fault.status == 404 and "model" in fault.said.lower():
                upstream.forget(name)
                self._missing(upstream)
        self.settle(lost=True)

    def freed(self, upstream: Upstream) -> None:
        if upstream.retired and upstream.idle:
            self._emptied(upstream)

    async def _wait(self, request: Request) -> Place:
        waiter = Waiter(request)
        deadline = self._clock() + self.timeout if self.timeout > 0 else math.inf
        self._line.join(waiter, self.most)
        try:
            while not waiter.outcome.done():
                now = self._clock()
                if now >= deadline:
                    raise WaitedTooLong(self.timeout)
                until = min((deadline, *(at for upstream in request.may for at in _changes(request, upstream, now))))
                await asyncio.wait((waiter.outcome,), timeout=None if until == math.inf else max(0.0, until - now))
                self.settle()
        except BaseException:
            if not waiter.outcome.done():
                self._line.leave(waiter)
            elif isinstance(outcome := waiter.outcome.result(), Place):
                outcome.left()
            raise
        outcome = waiter.outcome.result()
        if isinstance(outcome, Place):
            return outcome
        raise outcome

    def _usable(self, request: Request, now: float) -> list[Upstream]:
        """Those that may be asked now, or as soon as they have a place. Raises why there is none."""
        usable = [upstream for upstream in request.may if _fits(request, upstream, now)]
        if usable:
            return usable
        if not any(request.key in upstream.offers for upstream in request.may):
            raise _missing(request, self.upstreams)
        suited = [upstream for upstream in request.may if _suits(request, upstream)]
        admitted = [upstream for upstream in suited if upstream.breaker.admits(now)]
        pauses = [pause for upstream in admitted if (pause := upstream.pause_of(request.key, now)) is not None]
        raise _paused(pauses, now) if pauses else _down(request, suited, now)

    def _choose(self, request: Request, free: Sequence[Upstream]) -> Upstream:
        if len(free) > 1:  # one that may have frozen comes after all others
            free = [upstream for upstream in free if not upstream.breaker.silent] or free
        if len(free) == 1:
            return free[0]
        favoured = self._favoured(request, free) if self.affine and request.wanted.prefix else None
        return choose(free, favoured, lambda upstream: upstream.warm(request.key))

    def _favoured(self, request: Request, free: Collection[Upstream]) -> Upstream | None:
        names = {upstream.name: upstream for upstream in free}
        name = self._affinity.favoured(self._marks(request), names)
        return names[name] if name is not None else None

    def _marks(self, request: Request) -> list[bytes]:
        if request.marks is None:
            request.marks = marks(request.key, request.wanted.prefix)
        return request.marks

    def _take(self, request: Request, upstream: Upstream) -> Place:
        # Whoever had nothing to do for a while does not save up turns.
        self._turn = max(self._turn, upstream.turn)
        upstream.turn = self._turn + 1 / upstream.weight
        upstream.active[request.number] = request.ticket()
        upstream.requests += 1
        request.tried.append(upstream)
        return Place(self, request, upstream, upstream.breaker.begin(self._clock()))


def _suits(request: Request, upstream: Upstream) -> bool:
    """Whether the upstream could serve the request if it were well and had a place."""
    if upstream.retired or request.key not in upstream.offers:
        return False
    return upstream in request.may and upstream not in request.tried


def _fits(request: Request, upstream: Upstream, now: float) -> bool:
    """Whether it could serve it now, or as soon as it has a place."""
    return _suits(request, upstream) and upstream.breaker.admits(now) and upstream.pause_of(request.key, now) is None


def _changes(request: Request, upstream: Upstream, now: float) -> list[float]:
    """When the upstream may become of use to the request without anybody saying so."""
    pause = upstream.pause_of(request.key, now)
    wait = upstream.breaker.wait(now)
    return [*([pause.until] if pause else []), *([now + wait] if wait else [])]


def _missing(request: Request, upstreams: Sequence[Upstream]) -> RemudaError:
    asked = request.wanted.asked
    if not asked or not any(request.key in upstream.offers for upstream in upstreams):
        return ModelNotFound(str(request.wanted.name))
    return NotFound(f"model '{request.wanted.name}' not found at {_list(request.may)}, which the request asks for")


def _paused(pauses: Sequence[Pause], now: float) -> RemudaError:
    return min(pauses, key=lambda pause: pause.until).error(now)


def _down(request: Request, upstreams: Sequence[Upstream], now: float) -> RemudaError:
    seconds = max(1, math.ceil(min((upstream.breaker.wait(now) for upstream in upstreams), default=0.0)))
    alone = "; ".join(_alone(upstream, now) for upstream in upstreams)
    error = Unavailable(
        f"no upstream can serve model '{request.wanted.name}' now: {alone}; the next try is in {seconds} s"
    )
    error.retry_after = seconds
    return error


def _alone(upstream: Upstream, now: float) -> str:
    last = upstream.error.removeprefix(f"upstream '{upstream.name}' ")
    how = "is left alone" if upstream.breaker.wait(now) else "is being tried again"
    short = last if len(last) <= _WORDS else f"{last[:_WORDS]}..."
    return f"'{upstream.name}' {how} after {upstream.tally} (its last: {short})"


def _list(upstreams: Sequence[Upstream]) -> str:
    return ", ".join(f"'{upstream.name}'" for upstream in upstreams)
