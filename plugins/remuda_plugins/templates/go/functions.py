"""The functions that every template has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from . import comparing
from .budget import Budget
from .escaping import escape_html, escape_js, escape_query
from .printf import sprintf
from .printing import sprint, sprintln
from .utf8 import decode, encode, length
from .values import NIL, Kind, Uint8, held, kind, stored, truth, type_name

__all__ = ["BUILTINS", "Function", "custom"]


_ELEMENTS_PER_STEP = 8
"""Of what `slice` copies."""


class Function(Struct, frozen=True):
    """A function with at least `fixed` arguments, and more if `variadic`.

    `run` raises ValueError for what the template did wrong. Its arguments are as they were found, possibly in an
    `Interface`; with `takes_any` they are values, as for a Go function whose parameters are of type `interface {}`.
    With `form_first` the first has to be a string. Arguments behind one whose truth is `stops_at` are not evaluated.
    """

    run: Callable[[Budget, Sequence[Any]], Any]
    fixed: int
    variadic: bool = False
    takes_any: bool = False
    form_first: bool = False
    stops_at: bool | None = None


def custom(function: Callable[..., Any]) -> Function:
    """A function from elsewhere: gets values, None for nil, and gives one. What it raises is the template's fault."""
    fixed, variadic = 0, False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            needed = parameter.default is parameter.empty
            fixed, variadic = fixed + needed, variadic or not needed
        variadic = variadic or parameter.kind is parameter.VAR_POSITIONAL

    def run(budget: Budget, args: Sequence[Any]) -> Any:
        try:
            value = function(*args)
        except Exception as error:
            raise ValueError(str(error) or type(error).__name__) from error
        if isinstance(value, str):
            budget.write(len(value))
        return NIL if value is None else value

    return Function(run, fixed, variadic, takes_any=True)


def _index(budget: Budget, args: Sequence[Any]) -> Any:
    if held(args[0]) is None:
        raise ValueError("index of untyped nil")
    item = held(args[0])
    for each in args[1:]:
        position = held(each)
        if item is None or item is NIL:
            raise ValueError("index of nil pointer")
        item = held(item)
        match kind(item):
            case Kind.SLICE | Kind.STRING:
                item = _element(budget, item, position)
            case Kind.MAP:
                if position is None:
                    raise ValueError("value is nil; should be of type string")
                if not isinstance(position, str):
                    raise ValueError(f"value has type {type_name(position)}; should be string")
                item = stored(item, item.get(position))
            case _:
                raise ValueError(f"can't index item of type {type_name(item)}")
    return item


def _element(budget: Budget, item: Any, position: Any) -> Any:
    """Of a slice, or a byte of a string."""
    octets = _octets(budget, item) if isinstance(item, str) else item
    at = _position(position, len(octets))
    if at == len(octets):
        raise ValueError(f"reflect: {'string' if isinstance(item, str) else 'slice'} index out of range")
    return Uint8(octets[at]) if isinstance(item, str) else stored(item, octets[at])


def _position(position: Any, limit: int) -> int:
    if position is None:
        raise ValueError("cannot index slice/array with nil")
    if kind(position) not in {Kind.INT, Kind.UINT}:
        raise ValueError(f"cannot index slice/array with type {type_name(position)}")
    if not 0 <= position <= limit:
        raise ValueError(f"index out of range: {position}")
    return int(position)


def _octets(budget: Budget, text: str) -> bytes:
    budget.read(text)
    return encode(text)


def _slice(budget: Budget, args: Sequence[Any]) -> Any:
    item = held(args[0])
    if item is None:
        raise ValueError("slice of untyped nil")
    if len(args) > 4:
        raise ValueError(f"too many slice indexes: {len(args) - 1}")
    if kind(item) not in {Kind.STRING, Kind.SLICE}:
        raise ValueError(f"can't slice item of type {type_name(item)}")
    if isinstance(item, str) and len(args) == 4:
        raise ValueError("cannot 3-index slice a string")
    octets = _octets(budget, item) if isinstance(item, str) else item
    positions = [_position(each, len(octets)) for each in args[1:]]
    start, *rest = positions or [0]
    ends = rest or [len(octets)]
    for low, high in zip((start, *ends), ends, strict=False):
        if low > high:
            raise ValueError(f"invalid slice index: {low} > {high}")
    cut = octets[start : ends[0]]
    budget.spend(len(cut) // _ELEMENTS_PER_STEP)
    if isinstance(item, str):
        return decode(cut)
    return cut if type(cut) is type(item) else type(item)(cut)


def _len(budget: Budget, args: Sequence[Any]) -> int:
    item = held(args[0])
    if args[0] is None:
        raise ValueError("reflect: call of reflect.Value.Type on zero Value")
    if item is None:
        raise ValueError("len of nil pointer")
    if isinstance(item, str):
        budget.read(item)
        return length(item)
    if kind(item) not in {Kind.SLICE, Kind.MAP}:
        raise ValueError(f"len of type {type_name(item)}")
    return len(item)


def _escaped(escape: Callable[[str], str], times: int) -> Callable[[Budget, Sequence[Any]], str]:
    def run(budget: Budget, args: Sequence[Any]) -> str:
        text = sprint(budget, ["<no value>" if each is None else each for each in args])
        budget.read(text, times)
        text = escape(text)
        budget.write(len(text))
        return text

    return run


def _last(_: Budget, args: Sequence[Any]) -> Any:
    return args[-1]


def _call(_: Budget, args: Sequence[Any]) -> Any:
    """`execute` puts the name in front. No value is a function."""
    name, function = args[0], held(args[1])
    if function is None:
        raise ValueError("call of nil")
    raise ValueError(f"non-function {name} of type {type_name(function)}")


BUILTINS: dict[str, Function] = {
    "and": Function(_last, 1, variadic=True, stops_at=False),
    "call": Function(_call, 1, variadic=True),
    "eq": Function(lambda budget, args: comparing.equal(budget, args[0], args[1:]), 1, variadic=True),
    "ge": Function(lambda budget, args: not comparing.less(budget, *args), 2),
    "gt": Function(lambda budget, args: not comparing.less_or_equal(budget, *args), 2),
    "html": Function(_escaped(escape_html, 4), 0, variadic=True, takes_any=True),
    "index": Function(_index, 1, variadic=True),
    "js": Function(_escaped(escape_js, 32), 0, variadic=True, takes_any=True),
    "le": Function(lambda budget, args: comparing.less_or_equal(budget, *args), 2),
    "len": Function(_len, 1),
    "lt": Function(lambda budget, args: comparing.less(budget, *args), 2),
    "ne": Function(lambda budget, args: not comparing.equal(budget, args[0], args[1:]), 2),
    "not": Function(lambda _, args: not truth(args[0]), 1),
    "or": Function(_last, 1, variadic=True, stops_at=True),
    "print": Function(sprint, 0, variadic=True, takes_any=True),
    "printf": Function(
        lambda budget, args: sprintf(budget, args[0], args[1:]), 1, variadic=True, takes_any=True, form_first=True
    ),
    "println": Function(sprintln, 0, variadic=True, takes_any=True),
    "slice": Function(_slice, 1, variadic=True),
    "urlquery": Function(_escaped(escape_query, 8), 0, variadic=True, takes_any=True),
}
