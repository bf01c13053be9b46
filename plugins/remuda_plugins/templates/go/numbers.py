"""Go's literals of numbers, read."""

from __future__ import annotations

import math
import re

from .quoting import quote

__all__ = ["read_number"]

_DECIMAL = r"[0-9](?:_?[0-9])*"
_HEX = r"[0-9a-fA-F](?:_?[0-9a-fA-F])*"
_INTEGER = re.compile(
    rf"(?P<sign>[+-]?)(?:0[xX]_?(?P<hex>{_HEX})|0[oO]_?(?P<octal>[0-7](?:_?[0-7])*)|0[bB]_?(?P<binary>[01](?:_?[01])*)"
    r"|0(?P<zero>(?:_?[0-7])*)|(?P<decimal>[1-9](?:_?[0-9])*))"
)
_FLOAT = re.compile(rf"[+-]?(?:{_DECIMAL}(?:\.(?:{_DECIMAL})?)?|\.{_DECIMAL})(?:[eE][+-]?{_DECIMAL})?")
_HEX_FLOAT = re.compile(rf"[+-]?0[xX](?:_?{_HEX}(?:\.(?:{_HEX})?)?|\.{_HEX})[pP][+-]?{_DECIMAL}")
_BASES = {"hex": 16, "octal": 8, "binary": 2, "zero": 8, "decimal": 10}
_LONGEST = 400
"""Digits. No number has more, but Python's own limit is on the whole process."""


def read_number(text: str) -> int | float:
    """A literal's value, an `int` exactly when Go makes it one; up to 2**64 - 1, which Go's `int` does not hold.

    Raises ValueError with Go's words, and for complex numbers, which are not supported.
    """
    if text.endswith("i"):
        raise ValueError(f"complex numbers are not supported: {quote(text)}")
    integer = _integer(text)
    if integer is not None:
        # An exponent makes a float; Go does not see that this is none where a sign stands before `0x`.
        looks_like_float = text[0] in "+-" and any(char in "eE" for char in text)
        return float(integer) if looks_like_float else integer
    number = _float(text)
    if number is None or math.isinf(number):
        raise ValueError(f"illegal number syntax: {quote(text)}")
    if not any(char in ".eEpP" for char in text):
        raise ValueError(f"integer overflow: {quote(text)}")
    return number


def _integer(text: str) -> int | None:
    found = _INTEGER.fullmatch(text)
    if found is None or found.lastgroup is None:
        return None
    digits = found[found.lastgroup].replace("_", "").lstrip("0") or "0"
    if len(digits) > _LONGEST:
        return None
    value = int(digits, _BASES[found.lastgroup])
    if found["sign"] == "-":
        return -value if value <= 1 << 63 else None
    return value if value < (1 << 63 if found["sign"] else 1 << 64) else None


def _float(text: str) -> float | None:
    plain = text.replace("_", "")
    if _FLOAT.fullmatch(text):
        return float(plain)
    if _HEX_FLOAT.fullmatch(text):
        try:
            return float.fromhex(plain)
        except OverflowError:
            return math.inf
    return None
