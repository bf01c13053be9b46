"""The door between deciding and doing: what the scheduler wants done, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeAlias

from msgspec import Struct

from ..backend import Estimate, LoadedModel, LoadWish
from ..errors import RemudaError
from ..model import ModelEntry
from .queue import Ticket

__all__ = ["Effect", "Effects", "Grant", "Key", "Load", "Refuse", "Room", "Unload", "Use", "Weigh"]

Key: TypeAlias = Hashable
"""What makes two requests share a model in memory."""


class Room(Struct, frozen=True, kw_only=True):
    """What a load needs and what there is, in bytes. None is not known, and stops nothing."""

    need: Estimate | None
    memory: int | None = None
    gpu: int | None = None


class Weigh(Struct, frozen=True):
    """Find out what a load as wished needs, and what is free at this moment: `Desk.weighed`."""

    key: Key
    wish: LoadWish
    moment: int
    """What was true at an earlier one is of no use any more."""


class Load(Struct, frozen=True):
    """`Desk.loaded` or `Desk.load_failed`."""

    key: Key
    wish: LoadWish


class Unload(Struct, frozen=True):
    """End the model, or reap what is left of it: `Desk.unloaded`."""

    key: Key


class Grant(Struct, frozen=True):
    """The model is the ticket's until `Desk.end`."""

    key: Key
    ticket: Ticket


class Refuse(Struct, frozen=True):
    ticket: Ticket
    error: RemudaError


Effect: TypeAlias = Weigh | Load | Unload | Grant | Refuse


class Use(Struct, frozen=True, kw_only=True):
    """How a model has been used; see `remuda.hookspecs.Usage`."""

    asked: float | None
    gaps: tuple[float, ...]
    load_seconds: float
    size: int


class Effects(Protocol):
    """Everything that residency does to the world. Called in tasks of their own, each to be cancelled at any time."""

    async def weigh(self, entry: ModelEntry, backend: str, wish: LoadWish) -> Room:
        """Must not fail: what cannot be found out is None."""
        ...

    async def load(
        self, entry: ModelEntry, backend: str, wish: LoadWish, progress: Callable[[float], None]
    ) -> LoadedModel:
        """Raises `RemudaError`. Cancelling leaves nothing behind. `progress` takes how much is done, 0 to 1."""
        ...

    def keep_alive(self, entry: ModelEntry, backend: str, use: Use) -> float:
        """Seconds that a model which has just become idle stays; `math.inf` for ever. Must not fail."""
        ...
