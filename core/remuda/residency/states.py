"""The states of a model, and the steps between them: the whole table.

    absent ──load──> loading ──loaded──> ready ──drain──> draining ──gone──> absent
                        │                  │  <──keep──      │
                        ├──gone──> absent  └────── die ──────┴──> failed ──load──> loading
                        └──fail──> failed ──ban──> quarantined ──release──> absent

`ready` takes requests. `draining` takes none and leaves once the last one ended. `failed` lasts until the next try, and
`quarantined` for a while in which there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["LOADED", "TABLE", "State", "Step", "after"]


class State(StrEnum):
    ABSENT = "absent"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class Step(StrEnum):
    LOAD = "load"
    LOADED = "loaded"
    DRAIN = "drain"
    KEEP = "keep"
    """What it was to make room for is not wanted any more."""
    GONE = "gone"
    DIE = "die"
    FAIL = "fail"
    BAN = "ban"
    RELEASE = "release"


TABLE: Final[Mapping[tuple[State, Step], State]] = MappingProxyType(
    {
        (State.ABSENT, Step.LOAD): State.LOADING,
        (State.LOADING, Step.LOADED): State.READY,
        (State.LOADING, Step.GONE): State.ABSENT,
        (State.LOADING, Step.FAIL): State.FAILED,
        (State.READY, Step.DRAIN): State.DRAINING,
        (State.READY, Step.DIE): State.FAILED,
        (State.DRAINING, Step.KEEP): State.READY,
        (State.DRAINING, Step.GONE): State.ABSENT,
        (State.DRAINING, Step.DIE): State.FAILED,
        (State.FAILED, Step.LOAD): State.LOADING,
        (State.FAILED, Step.BAN): State.QUARANTINED,
        (State.FAILED, Step.RELEASE): State.ABSENT,
        (State.QUARANTINED, Step.RELEASE): State.ABSENT,
    }
)
"""Every step there is. A step that is not here is a fault of the scheduler."""

LOADED: Final = frozenset({State.LOADING, State.READY, State.DRAINING})
"""States in which a model takes memory. One that failed does so, too, until its process is reaped."""


def after(state: State, step: Step) -> State:
    """Raises `ValueError` for a step that is not in the table."""
    try:
        return TABLE[state, step]
    except KeyError:
        raise ValueError(f"a model that is {state} cannot {step}") from None
