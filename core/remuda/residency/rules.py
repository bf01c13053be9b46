"""The decisions of residency, one by one, without a clock, a process or a loop. Times in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from ..backend import LoadWish

__all__ = [
    "WINDOW",
    "Limits",
    "Trouble",
    "after_failure",
    "expiry",
    "less_context",
    "must_grow",
    "widest",
    "worth",
]

WINDOW: Final = 60.0
"""Failures further back than this are forgotten."""
_MOST: Final = 3
"""Failures within the window, none of them followed by a served request, that end in quarantine."""
_BACKOFF: Final = 0.5
_LONGEST: Final = 16
"""Times the configured quarantine."""
_LEAST_CONTEXT: Final = 256


class Limits(Struct, frozen=True, kw_only=True):
    """What the configuration says, and a reload may change."""

    max_loaded: int = 0
    """Models in memory at a time; 0 is no bound."""
    queue: int = 512
    """Requests that may wait for one model."""
    queue_timeout: float = 0.0
    """How long one may wait; 0 is no bound."""
    quarantine: float = 60.0
    """The first quarantine; 0 is none at all."""


class Trouble(Struct, frozen=True):
    """What a model's failures lead to."""

    failures: tuple[float, ...] = ()
    """When, as far as they count."""
    not_before: float = 0.0
    """The next try."""
    quarantine: float = 0.0
    """How long the last quarantine was; 0 before the first, and after a request was served."""
    banned: bool = False
    """The next try is after a quarantine."""


def after_failure(before: Trouble, now: float, limits: Limits) -> Trouble:
    """The first failure is forgiven, the second makes wait, the third one is one too many.

    Whoever fails straight after a quarantine goes back for twice as long.
    """
    failures = (*(at for at in before.failures if now - at < WINDOW), now)
    if limits.quarantine and (before.quarantine or len(failures) >= _MOST):
        length = min(2 * before.quarantine, _LONGEST * limits.quarantine) or limits.quarantine
        return Trouble((), now + length, length, banned=True)
    return Trouble(failures, now if len(failures) == 1 else now + _BACKOFF, before.quarantine)


def expiry(now: float, keep_alive: float) -> float:
    """When a model that became idle at `now` leaves; infinity for never."""
    return math.inf if math.isinf(keep_alive) else now + max(keep_alive, 0.0)


def must_grow(loaded: int, wish: LoadWish) -> bool:
    """Whether a model loaded with a context of `loaded` tokens must be loaded anew: only to grow, and only if asked."""
    return not wish.automatic and wish.context > loaded


def widest(wishes: Iterable[LoadWish], bound: int | None = None) -> LoadWish:
    """One wish that satisfies all of them: the largest context.

    With `bound`, tokens, less where nobody asked for the rest. `automatic` says whether there still is such a rest.
    """
    wishes = list(wishes)
    largest = max(wishes, key=lambda wish: wish.context)
    floor = max((wish.context for wish in wishes if not wish.automatic), default=0)
    context = largest.context if bound is None else max(floor, min(bound, largest.context))
    return LoadWish(context=context, parallel=largest.parallel, options=largest.options, automatic=context > floor)


def less_context(wish: LoadWish) -> int | None:
    """The context to try after a load for which there was no memory; None where that cannot be less."""
    less = max(wish.context // 4, _LEAST_CONTEXT)
    return less if wish.automatic and less < wish.context else None


def worth(load_seconds: float, idle: float, gaps: Sequence[float]) -> float:
    """What an idle model is worth keeping: the seconds of loading that it saves, by how soon it may be wanted again.

    It may be wanted as soon as it usually is, but what has been idle for long will be idle for about as long again.
    """
    usual = sum(gaps) / len(gaps) if gaps else 0.0
    return load_seconds / max(idle, usual, 0.001)
