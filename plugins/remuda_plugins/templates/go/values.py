"""The values that templates see, and what Go says of them: kinds, names of types, truth.

A value is what `json.loads` gives, `bytes` (Go's `[]byte`), a `Record` (a struct), or a `list` or `dict` subclass that
stands for a Go type of its own and may define what `Record` does: `type_name` and `go_string`. None is nil.

Two things that Go tells apart are told apart here, since errors and functions depend on them. What is found in a map
or slice of `interface {}` is an `Interface` around the value, until a pipeline takes it out; and `NIL`, such a place
with nothing in it, is not None, which is no value at all.
"""

from __future__ import annotations

from enum import StrEnum, auto
from typing import Any, ClassVar

__all__ = [
    "NIL",
    "Interface",
    "Kind",
    "Record",
    "Uint8",
    "entries",
    "held",
    "kind",
    "own_text",
    "stored",
    "truth",
    "type_name",
]

_ANY = "interface {}"
_INT64 = 1 << 63
_UINT64 = 1 << 64


class Kind(StrEnum):
    INVALID = auto()
    BOOL = auto()
    INT = auto()
    UINT = auto()
    FLOAT = auto()
    STRING = auto()
    SLICE = auto()
    MAP = auto()
    STRUCT = auto()
    INTERFACE = auto()
    OTHER = auto()
    """Nothing that Go has. It can be printed, if only as `?type?`."""


class Record:
    """A Go struct: fields with fixed names, in order. Always true; prints as `{a b c}`.

    A subclass sets `type_name`, which errors quote (`api.Message`), and overrides `go_string` where the Go type has a
    `String` method.
    """

    type_name: ClassVar[str] = "struct {}"
    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def go_string(self) -> str | None:
        """What it prints as; None to print the fields."""
        return None


class Interface:
    """A place of type `interface {}` and the value in it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


NIL = Interface(None)
"""An `interface {}` with nothing in it."""


class Uint8(int):
    """A byte of a string or of `bytes`."""

    __slots__ = ()


_KINDS: dict[type, Kind] = {
    type(None): Kind.INVALID,
    bool: Kind.BOOL,
    float: Kind.FLOAT,
    str: Kind.STRING,
    list: Kind.SLICE,
    tuple: Kind.SLICE,
    bytes: Kind.SLICE,
    dict: Kind.MAP,
    Uint8: Kind.UINT,
    Interface: Kind.INTERFACE,
}
_PLAIN = (list, dict, tuple)
_JSON = {bool, int, float, str, list, dict}
_BASES = ((Record, Kind.STRUCT), (dict, Kind.MAP), ((list, tuple), Kind.SLICE), (str, Kind.STRING), (float, Kind.FLOAT))
_NAMES = {
    Kind.INVALID: "nil",
    Kind.BOOL: "bool",
    Kind.INT: "int",
    Kind.UINT: "uint64",
    Kind.FLOAT: "float64",
    Kind.STRING: "string",
    Kind.SLICE: f"[]{_ANY}",
    Kind.MAP: f"map[string]{_ANY}",
    Kind.INTERFACE: _ANY,
}


def kind(value: object) -> Kind:
    """Its Go kind. An integer that no Go integer can hold is a float, as it would be when read from JSON."""
    found = _KINDS.get(type(value))
    if found is not None:
        return found
    if isinstance(value, int):
        if -_INT64 <= value < _INT64:
            return Kind.INT
        return Kind.UINT if 0 <= value < _UINT64 else Kind.FLOAT
    for base, known in _BASES:
        if isinstance(value, base):
            return known
    return Kind.OTHER


def type_name(value: Any) -> str:
    """Go's name of its type."""
    own = getattr(value, "type_name", None)
    if isinstance(own, str):
        return own
    if isinstance(value, bytes):
        return "[]uint8"
    if type(value) is Uint8:
        return "uint8"
    return _NAMES.get(kind(value)) or type(value).__name__


def own_text(value: Any) -> str | None:
    """What its `String` method says, None if it has none."""
    if type(value) in _KINDS or not hasattr(value, "go_string"):
        return None
    text = value.go_string()
    return text if isinstance(text, str) else None


def held(value: Any) -> Any:
    """The value itself, taken out of an `Interface`."""
    return value.value if type(value) is Interface else value


def stored(container: Any, value: Any) -> Any:
    """An element of a list or dict as Go finds it there: of type `interface {}`, or of a type of its own.

    A container whose `type_name` is just a name (`api.Tools`) does not tell which; records and the like decide then.
    """
    if value is None:
        return NIL
    if type(container) in _PLAIN:
        return Interface(value)
    if isinstance(container, bytes):
        return Uint8(value)
    name = type_name(container)
    known = name.startswith(("[]", "map["))
    return Interface(value) if (name.endswith(_ANY) if known else type(value) in _JSON) else value


def entries(mapping: dict[str, Any]) -> list[tuple[str, Any]]:
    """Keys, sorted, and the elements as Go finds them there."""
    try:
        keys = sorted(mapping)
    except TypeError:
        keys = sorted(mapping, key=str)
    return [(key, stored(mapping, mapping[key])) for key in keys]


def truth(value: Any) -> bool:
    """What `if` makes of it: zero, nil and what is empty are false."""
    value = held(value)
    return True if isinstance(value, Record) else bool(value)
