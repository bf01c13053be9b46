"""The decisions of residency, without a clock, a process or a loop."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["FOREVER", "expiry", "must_grow", "next_keep_alive", "queue_is_full"]

FOREVER = 2**63 / 1e9
"""Seconds that "for ever" counts as where a date is shown: the protocol's longest duration, about 292 years."""


def next_keep_alive(current: float | None, asked: float | None, default: float) -> float:
    """Seconds: what the request says; else what the model has already; else the server's default."""
    if asked is not None:
        return asked
    return default if current is None else current


def expiry(now: float, keep_alive: float) -> float:
    """When a model that became idle at `now` leaves; infinity for never."""
    return math.inf if math.isinf(keep_alive) else now + max(keep_alive, 0.0)


def must_grow(loaded: int, wanted: Iterable[int]) -> bool:
    """Whether a model loaded with a context of `loaded` tokens must be loaded anew: only ever to grow."""
    return any(context > loaded for context in wanted)


def queue_is_full(present: int, parallel: int, queue: int) -> bool:
    """Whether one more request finds no place: `present` are running or waiting for this model."""
    return present >= parallel + queue
