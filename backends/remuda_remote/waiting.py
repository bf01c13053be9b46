"""The requests that wait for a place at an upstream, fair between those who ask.

The order is that of `remuda.residency.queue`. Its tickets are looked at client by client, and of each client only the
oldest, so requests of one client that may not go to the same upstreams stand there as different clients of one address.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from remuda.backend import LoadWish
from remuda.errors import RemudaError, ServerBusy
from remuda.job import Client
from remuda.remote import Wanted
from remuda.residency.queue import FairQueue, Ticket

from .upstream import Upstream

if TYPE_CHECKING:
    from .places import Place

__all__ = ["Line", "Request", "Waiter"]

_NOTHING: Final = LoadWish(context=0)
"""Nothing is loaded here."""


class Request:
    """One request on its way to an upstream."""

    __slots__ = ("key", "marks", "may", "number", "tried", "wanted")

    def __init__(self, number: int, wanted: Wanted, may: list[Upstream]) -> None:
        self.number, self.wanted = number, wanted
        self.key = wanted.name.key
        self.may = may
        """All that its route and its own wish allow, those without the model too."""
        self.tried: list[Upstream] = []
        self.marks: list[bytes] | None = None
        """Of its beginning; None as long as nobody needed them."""

    def ticket(self) -> Ticket:
        client = self.wanted.client
        alike = (client.key, self.key, *self.wanted.asked, "", *(upstream.name for upstream in self.tried))
        return Ticket(
            id=self.number,
            wish=_NOTHING,
            client=Client(client.address, "\0".join(alike)),
            priority=self.wanted.priority,
        )


class Waiter:
    def __init__(self, request: Request) -> None:
        self.request = request
        self.ticket = request.ticket()
        self.outcome: asyncio.Future[Place | RemudaError] = asyncio.get_running_loop().create_future()
        """A place that is taken for the request already, or why it waits in vain."""


class Line:
    def __init__(self) -> None:
        self._queue = FairQueue()
        self._waiters: dict[int, Waiter] = {}
        self._models = Counter[str]()

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(list(self._waiters.values()))

    def join(self, waiter: Waiter, most: int) -> None:
        """At most `most` wait for one model: raises `ServerBusy` for one more, unless it is somebody's who has less
        waiting than another; then the latest of the other goes."""
        if self._models[waiter.request.key] >= most:
            crowder = self._queue.crowder(waiter.ticket)
            if crowder is None or (other := self._waiters[crowder.id]).request.key != waiter.request.key:
                raise ServerBusy()
            self.leave(other)
            other.outcome.set_result(ServerBusy())
        self._waiters[waiter.ticket.id] = waiter
        self._models[waiter.request.key] += 1
        self._queue.add(waiter.ticket)

    def leave(self, waiter: Waiter) -> None:
        """Without having had its turn, if it still waits."""
        if self._queue.remove(waiter.ticket):
            self._gone(waiter)

    def take(self, running: Iterable[Ticket], allowed: Callable[[Request], bool]) -> Waiter | None:
        """Whose turn it is of those `allowed`, `running` being served already. It does not wait any more."""
        ticket = self._queue.pick(running, lambda ticket: allowed(self._waiters[ticket.id].request))
        if ticket is None:
            return None
        self._queue.take(ticket)
        waiter = self._waiters[ticket.id]
        self._gone(waiter)
        return waiter

    def _gone(self, waiter: Waiter) -> None:
        del self._waiters[waiter.ticket.id]
        self._models[waiter.request.key] -= 1
        if not self._models[waiter.request.key]:
            del self._models[waiter.request.key]
