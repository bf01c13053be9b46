"""Which upstream gets a request, and what happens when it fails before an answer has begun."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from remuda.config import Config, RemoteConfig
from remuda.errors import BadRequest, RemudaError, Unavailable
from remuda.model import ModelName
from remuda.remote import REMOTE, Wanted
from remuda.wire import ALL

from .attempts import Closes, Lease, raced, tried
from .faults import Fault
from .member import Member
from .places import Place, Places
from .targets import among
from .upstream import Upstream
from .waiting import Request
from .watch import Watch

__all__ = ["Closes", "Lease", "Pool"]

_FRESH: Final = 1.0
"""Seconds for which nobody asks anew what an upstream has."""
_LOOK: Final = 3.0
"""Seconds that looking for a model may take."""
_END: Final = 5.0
"""Seconds that closing waits for what is being closed already."""
_SHOWN: Final = 80
"""Characters of a name that is repeated in an error."""

T = TypeVar("T", bound=Closes)


class Pool:
    def __init__(self, make: Callable[[Member], Upstream], clock: Callable[[], float] = time.monotonic) -> None:
        """`make` opens nothing yet, and may raise `ConfigError`. The pool closes what it has made."""
        self.upstreams: Sequence[Upstream] = ()
        """In the order of the configuration. Replaced, never changed: other threads look."""
        self._make, self._clock = make, clock
        self._config = Config()
        self._places = Places(clock, missing=self._missing, emptied=lambda upstream: self._later(upstream.close()))
        self._watches: dict[Upstream, Watch] = {}
        self._started = False
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    # --- its life

    def configure(self, config: Config, members: Sequence[Member]) -> None:
        """Takes all of it over at once. An upstream whose settings are as before goes on as it is; one that is gone is
        closed after its last request and deed. Raises `ConfigError`, having changed nothing."""
        before = {upstream.name: upstream for upstream in self.upstreams}
        same_lines = config.remote.max_line == self._config.remote.max_line
        upstreams = list[Upstream]()
        for member in members:
            old = before.get(member.name)
            upstreams.append(old if old is not None and old.member == member and same_lines else self._make(member))
        for upstream in upstreams:
            upstream.breaker.limit(config.remote.failures, config.remote.cooldown)
            old = before.get(upstream.name)
            if old is upstream:
                upstream.dialect.remote = config.remote
            elif old is not None and (old.member.url, old.member.kind) == (upstream.member.url, upstream.member.kind):
                upstream.inherit(old)
        self._config, self.upstreams = config, tuple(upstreams)
        for upstream in before.values():
            if upstream not in upstreams:
                self._retire(upstream)
        places, limits = self._places, config.limits
        places.upstreams, places.affine = self.upstreams, config.remote.affinity
        places.most, places.timeout = limits.queue, limits.queue_timeout
        for waiter in places.waiters():
            try:
                waiter.request.may = self._may(waiter.request.wanted)
            except BadRequest as error:
                places.refuse(waiter, error)
        places.settle(lost=True)
        if self._started:
            self.start()

    def start(self) -> None:
        """Watches all upstreams from now on; those that are watched already are asked at once."""
        self._started = True
        for upstream in self.upstreams:
            if upstream in self._watches:
                self._watches[upstream].again()
            else:
                self._watches[upstream] = Watch(
                    upstream, lambda: self._config.remote.probe_interval, self._news, self._clock
                )

    async def close(self) -> None:
        """Refuses those who wait, and closes all upstreams; requests that have begun should have ended."""
        self._started = False
        self._places.close()
        self._tasks |= {watch.stop() for watch in self._watches.values()}
        self._watches.clear()
        upstreams, self.upstreams = self.upstreams, ()
        self._places.upstreams = ()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END)
        for upstream in upstreams:
            await upstream.close()

    # --- what there is

    def route(self, name: ModelName) -> tuple[str, ...]:
        """The upstreams, or groups of them, that may serve models of that name; none named is all."""
        text = str(name)
        return next((r.upstreams for r in self._config.routes if r.backend == REMOTE and r.matches(text)), ())

    def candidates(self, wanted: Wanted) -> list[Upstream]:
        """Those that have the model and may serve it, whether they are well or not. Raises `BadRequest` for names in
        `wanted.asked` that are not of the model's route."""
        return [upstream for upstream in self._may(wanted) if wanted.name.key in upstream.offers]

    def offers(self, name: ModelName) -> bool:
        """Whether one that may serve it has the model, as far as is known. Any thread may ask."""
        key = name.key
        return any(key in upstream.offers for upstream in self._routed(name))

    async def look(self, name: ModelName) -> bool:
        """As `offers`, after asking those that were not asked for a second. Raises `Unavailable` where one that may
        have the model never said what it has."""
        watches = [self._watches.get(upstream) for upstream in self._routed(name) if self._answers(upstream)]
        probes = {watch.again() for watch in watches if watch is not None and watch.age > _FRESH}
        deadline = self._clock() + _LOOK
        while probes and not self.offers(name) and (left := deadline - self._clock()) > 0:
            _, probes = await asyncio.wait(probes, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if self.offers(name):
            return True
        silent = [upstream for upstream in self._routed(name) if not upstream.heard and upstream.may_have(name)]
        if silent:
            those = ", ".join(f"'{upstream.name}'" for upstream in silent)
            raise Unavailable(f"model '{name}' is not known here, and {those} could not be asked yet; try again later")
        return False

    async def refresh(self) -> None:
        """Asks those that were not asked for a second, but those that are down, what they have; a little while."""
        watches = [self._watches.get(upstream) for upstream in self.upstreams if self._answers(upstream)]
        if probes := {watch.again() for watch in watches if watch is not None and watch.age > _FRESH}:
            await asyncio.wait(probes, timeout=_LOOK)

    async def renew(self, upstream: Upstream) -> None:
        """Asks one what it has, after that was changed."""
        if (watch := self._watches.get(upstream)) is not None:
            if watch.busy:  # perhaps it was told what there was before
                await asyncio.wait({watch.again()}, timeout=_LOOK)
            await asyncio.wait({watch.again()}, timeout=_LOOK)

    @contextmanager
    def kept(self, names: Collection[str]) -> Generator[Sequence[Upstream], None, None]:
        """All upstreams, of which those named stay open inside, in the configuration or not."""
        upstreams = self.upstreams
        those = [upstream for upstream in upstreams if upstream.name in names]
        for upstream in those:
            upstream.deeds += 1
        try:
            yield upstreams
        finally:
            for upstream in those:
                upstream.deeds -= 1
                self._places.freed(upstream)

    def waiting(self, upstream: Upstream) -> int:
        """How many requests wait here that it could serve."""
        return self._places.waiting(upstream)

    # --- requests

    async def run(self, wanted: Wanted, attempt: Callable[[Upstream, str], Awaitable[T]]) -> Lease[T]:
        """`attempt(upstream, model there)` at the best upstream that may serve it; at another one if that fails with a
        `Fault` that allows it. Waits in a fair, bounded queue for a place.

        Raises the error of the last fault, with the fault as its `__cause__`; what else `attempt` raises as it is;
        `BadRequest` as `candidates`, `NotFound`, and `Unavailable` where nobody can be asked, or not soon enough.
        """
        remote = self._config.remote
        request = Request(next(self._numbers), wanted, self._may(wanted))
        last: Fault | None = None
        while last is None or (last.again and len(request.tried) < remote.attempts):
            try:
                if last is not None:
                    request.may = self._may(wanted)  # some may have left meanwhile
                place = await self._places.get(request)
            except RemudaError:
                if last is None:
                    raise
                break
            try:
                if remote.hedge > 0:
                    return await raced(
                        place, attempt, remote.hedge, partial(self._second, request, remote), self._later
                    )
                return await tried(place, attempt)
            except Fault as fault:
                last = fault
        raise last.error() from last

    def _second(self, request: Request, remote: RemoteConfig) -> Place | None:
        return self._places.spare(request) if len(request.tried) < remote.attempts else None

    # --- upstreams

    def _may(self, wanted: Wanted) -> list[Upstream]:
        routed = self._routed(wanted.name)
        if not wanted.asked or ALL in wanted.asked:
            return routed
        for name in wanted.asked:
            if not any(among(upstream.member, (name,)) for upstream in routed):
                those = ", ".join(upstream.name for upstream in routed) or "none"
                raise BadRequest(
                    f"there is no upstream '{name[:_SHOWN]}' that may serve model '{wanted.name}'; allowed: {those}"
                )
        return [upstream for upstream in routed if among(upstream.member, wanted.asked)]

    def _routed(self, name: ModelName) -> list[Upstream]:
        route = self.route(name)
        return [upstream for upstream in self.upstreams if among(upstream.member, route)]

    def _answers(self, upstream: Upstream) -> bool:
        return upstream.breaker.health(self._clock()) != "down"

    def _news(self, _: Upstream) -> None:
        self._places.settle(lost=True)

    def _missing(self, upstream: Upstream) -> None:
        # Not at once again where it lists a model that it does not find: then the next usual probe is early enough.
        if (watch := self._watches.get(upstream)) is not None and watch.age > _FRESH:
            watch.again()

    def _retire(self, upstream: Upstream) -> None:
        upstream.retired = True
        if (watch := self._watches.pop(upstream, None)) is not None:
            self._keep(watch.stop())
        if upstream.idle:
            self._later(upstream.close())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.get_running_loop().create_task(work))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
