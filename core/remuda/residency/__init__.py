"""Which models are loaded, for how long, and who waits."""

from __future__ import annotations

from .clock import Clock, LoopClock
from .effects import Effects, Room, Use
from .herd import Asked, Herd, Queued, Resident
from .lease import Lease, Wait
from .rules import Limits
from .states import State

__all__ = [
    "Asked",
    "Clock",
    "Effects",
    "Herd",
    "Lease",
    "Limits",
    "LoopClock",
    "Queued",
    "Resident",
    "Room",
    "State",
    "Use",
    "Wait",
]
