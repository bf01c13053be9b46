"""`eq`, `lt` and their relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .budget import Budget
from .printf import sprintf
from .utf8 import encode
from .values import Kind, Record, held, kind, type_name

__all__ = ["equal", "less", "less_or_equal"]

_BASIC = {Kind.BOOL, Kind.INT, Kind.UINT, Kind.FLOAT, Kind.STRING}
_INTEGERS = {Kind.INT, Kind.UINT}


def equal(budget: Budget, first: Any, others: Sequence[Any]) -> bool:
    """Whether the first is equal to any of the others; nil is equal to nil. Raises ValueError if Go cannot tell."""
    if not others:
        raise ValueError("missing argument for comparison")
    first = held(first)
    return any(_equal(budget, first, held(other)) for other in others)


def less(budget: Budget, first: Any, second: Any) -> bool:
    """Raises ValueError for what has no order."""
    first, second = held(first), held(second)
    kinds = _basic(first), _basic(second)
    if None in kinds:
        raise ValueError("invalid type for comparison")
    if kinds[0] is not kinds[1] and not _INTEGERS.issuperset(kinds):
        raise ValueError(_incompatible(first, second))
    if kinds[0] is Kind.BOOL:
        raise ValueError("invalid type for comparison")
    if kinds[0] is not Kind.STRING:
        return bool(first < second)
    _read(budget, first, second)
    return first < second if first.isascii() and second.isascii() else encode(first) < encode(second)


def less_or_equal(budget: Budget, first: Any, second: Any) -> bool:
    return less(budget, first, second) or equal(budget, first, (second,))


def _basic(value: Any) -> Kind | None:
    found = kind(value)
    return found if found in _BASIC else None


def _equal(budget: Budget, first: Any, second: Any) -> bool:
    kinds = _basic(first), _basic(second)
    if kinds[0] is not kinds[1]:
        if not _INTEGERS.issuperset(kinds):
            if first is not None and second is not None:
                raise ValueError(_incompatible(first, second))
            return False
    elif kinds[0] is None:
        return _same(budget, first, second)
    if kinds[0] is Kind.STRING:
        _read(budget, first, second)
    return bool(first == second)


def _same(budget: Budget, first: Any, second: Any) -> bool:
    """Two values of which neither is a boolean, a number or a string."""
    if first is None or second is None:
        return first is second
    if kind(first) is not kind(second):
        shown = sprintf(budget, "%s: %T, %T: %v", (first, first, second, second))
        raise ValueError(f"non-comparable types {shown}")
    if not isinstance(second, Record):
        raise ValueError(sprintf(budget, "non-comparable type %s: %T", (second, second)))
    return first is second


def _read(budget: Budget, first: str, second: str) -> None:
    budget.read(first if len(first) < len(second) else second)


def _incompatible(first: Any, second: Any) -> str:
    return f"incompatible types for comparison: {type_name(first)} and {type_name(second)}"
