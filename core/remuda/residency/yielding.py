"""A busy model that makes room for another one: whom it still serves before it leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ..job import Client
from .queue import Ticket
from .seat import Seat

__all__ = ["Yielding"]

_ROUNDS: Final = 2
"""How often one client may fill a model that is to make room for another client."""


@dataclass(slots=True)
class Yielding:
    """`seat` grants a ticket only if it `allows` it."""

    seat: Seat
    head: Ticket
    """For whom."""
    granted: Counter[Client] = field(default_factory=Counter[Client])
    """Since it began."""

    def allows(self, ticket: Ticket) -> bool:
        """It came before the head, or waited when the model was loaded, and is not one of too many of its client."""
        mine = ticket.client == self.head.client or self.granted[ticket.client] < _ROUNDS * self.seat.parallel
        return mine and ticket.rank < max(self.head.rank, (self.head.rank[0], self.seat.promised + 1))

    @property
    def left(self) -> int:
        """Requests before it is free."""
        return len(self.seat.active) + sum(map(self.allows, self.seat.tickets()))
