"""Whose turn it is to have a model loaded: addresses take turns, and so do the keys of one address.

As in `queue`: a client with requests for many models gets one of them, then it is another client's turn.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..job import Client

__all__ = ["Turns"]


class Turns:
    """Only clients that wait are remembered, from when they first stood in line for a load."""

    def __init__(self) -> None:
        self._loads = 0
        self._last: dict[Client | str, int] = {}
        """The number of the latest load for a client or an address; of a newcomer, that before the last."""

    def of(self, client: Client) -> tuple[int, int]:
        """The smallest goes first."""
        newcomer = self._loads - 1
        return self._last.setdefault(client.address, newcomer), self._last.setdefault(client, newcomer)

    def take(self, client: Client, waiting: Iterable[Client]) -> None:
        """A model is loaded for `client`, one of those `waiting`."""
        self._loads += 1
        here = {who for each in waiting for who in (each, each.address)}
        self._last = {who: turn for who, turn in self._last.items() if who in here}
        self._last |= {client: self._loads, client.address: self._loads}
