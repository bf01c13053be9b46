"""What a request holds of a model: first a place in the queue, then the model itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from msgspec import Struct

from ..backend import LoadedModel
from ..errors import RemudaError
from .queue import Ticket

__all__ = ["Lease", "Wait"]

_PACE = 0.25
"""Seconds between two looks at what has changed for somebody who waits."""


class Wait(Struct, frozen=True):
    """How it stands with a request that waits."""

    position: int
    """About how many turns until its own, 1 for the next one."""
    loading: float | None = None
    """How much of its model is loaded, 0 to 1, where that is known; None while it is not being loaded."""
    size: int = 0
    """Bytes that the model will hold, as far as known."""


class Lease:
    """Made by `Herd.use`."""

    def __init__(self, ticket: Ticket, look: Callable[[Ticket], Wait | None]) -> None:
        self.ticket = ticket
        self.done = False
        """The model did for the request what it is there for: to be set by whoever uses it."""
        self._look = look
        self._granted: asyncio.Future[LoadedModel] = asyncio.get_running_loop().create_future()
        self._granted.add_done_callback(lambda granted: granted.cancelled() or granted.exception())

    async def model(self) -> LoadedModel:
        """The model, once it is loaded and it is this request's turn. Raises whatever keeps it from that."""
        return self._granted.result() if self._granted.done() else await asyncio.shield(self._granted)

    async def waiting(self) -> AsyncGenerator[Wait, None]:
        """How the wait goes on: at once, and at each change; ends when it is over, well or badly."""
        told: Wait | None = None
        while not self._granted.done():
            wait = self._look(self.ticket)
            if wait is not None and wait != told:
                told = wait
                yield wait
            await asyncio.wait((self._granted,), timeout=_PACE)

    def grant(self, model: LoadedModel) -> None:
        if not self._granted.done():
            self._granted.set_result(model)

    def refuse(self, error: RemudaError) -> None:
        if not self._granted.done():
            self._granted.set_exception(error)
