"""`fmt.Sprint`, `Sprintln`, and how `Sprintf` writes one argument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .budget import Budget, Exhausted
from .utf8 import joined
from .values import NIL, Interface, Kind, Record, entries, held, kind, own_text, stored, type_name
from .verbs import Flags, format_bool, format_bytes, format_integer, format_number, format_string, pad

__all__ = ["Printer", "sprint", "sprintln"]

_DEEPEST = 100
_NIL = "<nil>"
_SLOW = 16
"""How much longer a string takes that is gone through character by character."""


def sprint(budget: Budget, values: Sequence[Any]) -> str:
    """The values with a space between two that are no strings."""
    printer = Printer(budget)
    after_string = True
    for value in values:
        is_string = kind(value) is Kind.STRING
        if not is_string and not after_string:
            printer.write(" ")
        printer.argument(value, "v")
        after_string = is_string
    return printer.text()


def sprintln(budget: Budget, values: Sequence[Any]) -> str:
    """The values with a space between any two, and a line feed."""
    printer = Printer(budget)
    for number, value in enumerate(values):
        if number:
            printer.write(" ")
        printer.argument(value, "v")
    printer.write("\n")
    return printer.text()


class Printer:
    """Collects text. `flags` hold for what is written next."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._parts: list[str] = []
        self._size = 0
        self._in_error = False
        self.flags = Flags()

    def text(self) -> str:
        """All that was written."""
        self._budget.write(self._size)
        return joined("".join(self._parts))

    def write(self, text: str) -> None:
        self._size += len(text)
        if self._size > self._budget.longest:
            self._budget.write(self._size)
        self._parts.append(text)

    def argument(self, value: Any, verb: str) -> None:
        """An argument of a printing function under a verb."""
        value = held(value)
        if value is None:
            if verb in "Tv":
                self.write(pad(self.flags, _NIL))
            else:
                self._bad_verb(value, verb)
        elif verb == "T":
            self.write(format_string(self.flags, type_name(value), "s") or "")
        elif verb == "w":
            self._bad_verb(value, verb)
        else:
            self._value(value, verb, 0)

    def _bad_verb(self, value: Any, verb: str) -> None:
        self.write(f"%!{verb}(")
        if value is None:
            self.write(_NIL)
        else:
            self._in_error = True
            self.write(f"{type_name(value)}=")
            self.argument(value, "v")
            self._in_error = False
        self.write(")")

    def _value(self, value: Any, verb: str, depth: int) -> None:
        self._budget.spend()
        if depth > _DEEPEST:
            raise Exhausted(f"a value is more than {_DEEPEST} levels deep")
        if type(value) is Interface:
            value = held(value)
            if value is None:
                self.write("interface {}(nil)" if self.flags.sharp_v else _NIL)
                return
        if verb in "vsxXq" and not self.flags.sharp_v and not self._in_error:
            text = own_text(value)
            if text is not None:
                self._string(value, text, verb)
                return
        match kind(value):
            case Kind.STRING:
                self._string(value, value, verb)
            case Kind.SLICE:
                self._slice(value, verb, depth)
            case Kind.MAP:
                self._map(value, verb, depth)
            case Kind.STRUCT:
                self._struct(value, verb, depth)
            case _:
                self._basic(value, verb)

    def _basic(self, value: Any, verb: str) -> None:
        match kind(value):
            case Kind.BOOL:
                text = format_bool(self.flags, value, verb)
            case Kind.INT:
                text = format_integer(self.flags, value, verb)
            case Kind.UINT:
                text = format_integer(self.flags, value, verb, unsigned=True)
            case Kind.FLOAT:
                text = format_number(self.flags, _as_float(value), verb)
            case _:
                text = pad(self.flags, f"?{type_name(value)}?")
        if text is None:
            self._bad_verb(value, verb)
        else:
            self.write(text)

    def _string(self, value: Any, text: str, verb: str) -> None:
        self._budget.read(text, 1 if verb in "vs" and not self.flags.sharp_v else _SLOW)
        written = format_string(self.flags, text, verb)
        if written is None:
            self._bad_verb(value, verb)
        else:
            self.write(written)

    def _slice(self, value: Any, verb: str, depth: int) -> None:
        if isinstance(value, bytes):
            self._budget.spend(len(value) // _SLOW)
            text = format_bytes(self.flags, value, verb)
            if text is not None:
                self.write(text)
                return
        name = "[]byte" if isinstance(value, bytes) else type_name(value)
        self.write(f"{name}{{" if self.flags.sharp_v else "[")
        for number, element in enumerate(value):
            self._between(number)
            self._value(stored(value, element), verb, depth + 1)
        self.write("}" if self.flags.sharp_v else "]")

    def _map(self, value: dict[str, Any], verb: str, depth: int) -> None:
        self.write(f"{type_name(value)}{{" if self.flags.sharp_v else "map[")
        for number, (key, element) in enumerate(entries(value)):
            self._between(number)
            self._value(key, verb, depth + 1)
            self.write(":")
            self._value(element, verb, depth + 1)
        self.write("}" if self.flags.sharp_v else "]")

    def _struct(self, value: Record, verb: str, depth: int) -> None:
        self.write(f"{type_name(value)}{{" if self.flags.sharp_v else "{")
        for number, (name, element) in enumerate(value.fields.items()):
            self._between(number)
            if self.flags.sharp_v or self.flags.plus_v:
                self.write(f"{name}:")
            self._value(NIL if element is None else element, verb, depth + 1)
        self.write("}")

    def _between(self, number: int) -> None:
        if number:
            self.write(", " if self.flags.sharp_v else " ")


def _as_float(value: float) -> float:
    """Also of an integer that is larger than any float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
