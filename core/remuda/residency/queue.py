"""Who is next: the requests that wait for one model, fair between those who ask.

The higher priority goes first. Between equals it is the address with the fewest requests running here, then the one
that has waited longest since its last turn; between the keys of one address the same again; within a client first come,
first served. A key is checked by nobody, so it divides the share of its address and gives no share of its own. Nobody
saves up turns: who comes anew stands before the one whose turn was the latest, and behind all others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from ..backend import LoadWish
from ..job import Client

__all__ = ["LANES", "FairQueue", "Lane", "Rank", "Ticket"]

Lane: TypeAlias = Literal["generate", "embed", "load"]
LANES: Final[tuple[Lane, ...]] = ("generate", "embed", "load")
Rank: TypeAlias = tuple[int, int]
"""Smaller goes first where requests for different models are compared: priority, then arrival."""
_Group: TypeAlias = tuple[int, Client]


class Ticket(Struct, frozen=True, kw_only=True):
    """One request that wants a model."""

    id: int
    """Rises with each arrival."""
    wish: LoadWish
    lane: Lane = "generate"
    client: Client = Client()
    priority: int = 0
    keep_alive: float | None = None
    """Seconds; None leaves the model's own as it is."""
    arrived: float = 0.0
    deadline: float | None = None
    """When it has waited too long."""

    @property
    def rank(self) -> Rank:
        return -self.priority, self.id


class FairQueue:
    """The waiting tickets of one lane of one model."""

    def __init__(self) -> None:
        self._groups: dict[_Group, deque[Ticket]] = {}
        self._waiting = Counter[Client | str]()
        self._since: dict[Client | str, int] = {}
        """The number of the turn since which each client and each address waits."""
        self._turns = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Ticket]:
        for group in self._groups.values():
            yield from group

    def add(self, ticket: Ticket) -> None:
        self._groups.setdefault((ticket.priority, ticket.client), deque()).append(ticket)
        for who in (ticket.client, ticket.client.address):
            self._waiting[who] += 1
            self._since.setdefault(who, self._turns - 1)
        self._count += 1

    def remove(self, ticket: Ticket) -> bool:
        """Whether it was there."""
        place = (ticket.priority, ticket.client)
        group = self._groups.get(place)
        if group is None or ticket not in group:
            return False
        group.remove(ticket)
        if not group:
            del self._groups[place]
        for who in (ticket.client, ticket.client.address):
            self._waiting[who] -= 1
            if not self._waiting[who]:
                del self._waiting[who], self._since[who]
        self._count -= 1
        return True

    def crowder(self, ticket: Ticket) -> Ticket | None:
        """The latest ticket of whoever has most waiting, if it should make room for `ticket`, whose client has less."""

        def crowd(group: deque[Ticket]) -> tuple[int, int, int]:
            last = group[-1]
            return self._waiting[last.client.address], self._waiting[last.client], last.id

        groups = [group for (priority, _), group in self._groups.items() if priority <= ticket.priority]
        if not groups:
            return None
        last, own = max(groups, key=crowd)[-1], ticket.client
        if last.client.address == own.address:
            more = self._waiting[last.client] - self._waiting[own]
        else:
            more = self._waiting[last.client.address] - self._waiting[own.address]
        return last if more > 1 else None

    def heads(self) -> list[Ticket]:
        """The oldest ticket of each client and priority."""
        return [group[0] for group in self._groups.values()]

    def pick(self, running: Iterable[Ticket], allowed: Callable[[Ticket], bool] | None = None) -> Ticket | None:
        """Whose turn it is, `running` being served already. Of each client only the oldest ticket is looked at."""
        heads = [head for head in self.heads() if allowed is None or allowed(head)]
        if not heads:
            return None
        load = Counter[Client | str]()
        for ticket in running:
            load[ticket.client.address] += 1
            load[ticket.client] += 1

        def turn(ticket: Ticket) -> tuple[int, ...]:
            client, address, since = ticket.client, ticket.client.address, self._since
            return -ticket.priority, load[address], since[address], load[client], since[client], ticket.id

        return min(heads, key=turn)

    def take(self, ticket: Ticket) -> None:
        """`ticket` is served now."""
        self.remove(ticket)
        self._turns += 1
        for who in (ticket.client, ticket.client.address):
            if who in self._since:
                self._since[who] = self._turns

    def position(self, ticket: Ticket) -> int:
        """About how many turns until it is its own, 1 for the next one: each client before it gets as many as it."""
        own = next((at for at, other in enumerate(self._groups[ticket.priority, ticket.client]) if other == ticket), 0)
        ahead = own
        for (priority, client), group in self._groups.items():
            if priority > ticket.priority:
                ahead += len(group)
            elif priority == ticket.priority and client != ticket.client:
                ahead += min(len(group), own + (group[0].id < ticket.id))
        return ahead + 1
