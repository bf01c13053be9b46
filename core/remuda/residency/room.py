"""Whether there is room for a load: what it needs against what is free, and what would be free without the others."""

from __future__ import annotations

from collections.abc import Sequence

from .effects import Room
from .memory import too_large
from .seat import Seat
from .states import State

__all__ = ["lacking"]


def lacking(room: Room, others: Sequence[Seat], *, alone: bool = False) -> str | None:
    """Why a load does not fit beside `others`, which take memory; None if it does, or if nobody knows.

    With `alone`: why it would not fit even with all of them gone.
    """
    if room.need is None:
        return None
    if room.memory is not None:
        free = room.memory + sum(_held(other) if alone else -_claimed(other) for other in others)
        if room.need.memory > free:
            return too_large("system memory", room.need.memory, max(free, 0))
    if room.gpu is not None:
        free = room.gpu + sum(_gpu(other) if alone else -_gpu(other) * _loading(other) for other in others)
        if room.need.gpu > free:
            return too_large("GPU memory", room.need.gpu, max(free, 0))
    return None


def _claimed(seat: Seat) -> int:
    """Bytes that count as free although they are not to be had.

    Of a model that is loading these are all, since nobody knows how many it has taken; of a loaded one, mapped files.
    """
    if seat.need is None:
        return 0
    return seat.need.memory if _loading(seat) else seat.need.mapped


def _held(seat: Seat) -> int:
    """Bytes that do not count as free because of it."""
    return 0 if seat.need is None else seat.need.memory - seat.need.mapped


def _gpu(seat: Seat) -> int:
    return 0 if seat.need is None else seat.need.gpu


def _loading(seat: Seat) -> bool:
    return seat.state is State.LOADING
