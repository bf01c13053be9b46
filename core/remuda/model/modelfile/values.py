"""Parameters as text: JSON values as the reference writes them, which is Go's way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from .command import Command

__all__ = ["parameter_commands", "parameter_lines"]

_WIDTH: Final = 30
_LARGEST: Final = 2**63
_ESCAPES: Final = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", '"': r"\"", "\\": r"\\"
}  # fmt: skip


def parameter_lines(parameters: Mapping[str, Any]) -> str:
    """`parameters` of `/api/show`: a line for each value, those of an array one each; keys sorted, no newline at the
    end. Texts stand in quotes, large numbers with an exponent: `1.048576e+06`."""
    return "\n".join(f"{key:{_WIDTH}} {_shown(value)}" for key, value in _each(parameters))


def parameter_commands(parameters: Mapping[str, Any]) -> list[Command]:
    """`PARAMETER` commands, in the same order. Whole numbers are written out, so that they can be read again."""
    return [Command("parameter", key, _plain(value)) for key, value in _each(parameters)]


def _each(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in sorted(parameters):
        value = parameters[key]
        values = cast(list[Any], value) if isinstance(value, (list, tuple)) else [value]
        yield from ((key, each) for each in values)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST:
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value))}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    return "<nil>" if value is None else msgspec.json.encode(value).decode()


def _number(value: float) -> str:
    """The shortest text that is this number in double precision; with an exponent below -4 or above 5."""
    try:
        exact = Decimal(repr(float(value)))
    except OverflowError:  # a whole number that no float can be
        return str(value)
    exponent = exact.adjusted()
    if -4 <= exponent < 6:
        return f"{exact.normalize():f}"
    first, *rest = "".join(map(str, exact.as_tuple().digits)).rstrip("0")
    sign, fraction = "-" * (value < 0), f".{''.join(rest)}" if rest else ""
    return f"{sign}{first}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if character.isprintable():
        return character
    if 0xD800 <= code < 0xE000:
        return r"\ufffd"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
