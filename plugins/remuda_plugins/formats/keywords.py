"""The keywords of JSON Schema: which are honoured, which are refused, and what a value of each may be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final, cast

from .fault import FormatFault, Place, where
from .patterns import unwritable

__all__ = ["LARGEST", "OWN", "REFUSED", "TYPES", "beyond", "bound", "check", "exact", "implied", "values_within"]

LARGEST: Final = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""

TYPES: Final = ("null", "boolean", "object", "array", "number", "integer", "string")

REFUSED: Final = frozenset(
    "not if contains minContains maxContains uniqueItems unevaluatedItems unevaluatedProperties propertyNames "
    "dependentRequired dependentSchemas dependencies $dynamicRef $recursiveRef extends disallow divisibleBy".split()
)
"""Keywords of any draft that bind a document and that no grammar here can say. All others are annotations."""

OWN: Final = {
    "object": ("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""By type of document: the keywords that bind documents of this type and no others."""

_MOST: Final = {
    "minItems": 1000,
    "maxItems": 10_000,
    "minProperties": 1000,
    "maxProperties": 10_000,
    "minLength": 10_000,
    "maxLength": 1_000_000,
}
_DIGITS: Final = 15
_EXPONENT: Final = 22

_SCHEMAS: Final = "an object or true or false"
_SHAPES: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "properties": ((dict,), "an object of schemas"),
    "patternProperties": ((dict,), "an object of schemas"),
    "additionalProperties": ((dict, bool), _SCHEMAS),
    "items": ((dict, bool, list), f"{_SCHEMAS}, or an array of such"),
    "additionalItems": ((dict, bool), _SCHEMAS),
    "prefixItems": ((list,), "an array of schemas"),
    "anyOf": ((list,), "an array of schemas, not empty"),
    "allOf": ((list,), "an array of schemas, not empty"),
    "oneOf": ((list,), "an array of schemas, not empty"),
    "required": ((list,), "an array of strings"),
    "enum": ((list,), "an array, not empty"),
    "type": ((str, list), "a type or an array of types, out of " + ", ".join(TYPES)),
    "pattern": ((str,), "a regular expression in a string"),
    "format": ((str,), "a string"),
    "$ref": ((str,), "a string"),
    **dict.fromkeys(_MOST, ((int, float), "a whole number, 0 or more")),
    **dict.fromkeys(OWN["number"], ((int, float), "a number")),
    "multipleOf": ((int, float), "a number above 0"),
}
_FILLED: Final = ("anyOf", "allOf", "oneOf", "enum", "type")


def check(schema: dict[str, Any], place: Place) -> None:
    """Raise `FormatFault` for a keyword that is not supported, or whose value is none for it."""
    for keyword, value in schema.items():
        if keyword in REFUSED and not _harmless(keyword, value):
            raise FormatFault(f'JSON Schema keyword "{keyword}" is not supported (at {where(place)})')
        if keyword in _SHAPES and not _fits(keyword, value):
            raise FormatFault(f'"{keyword}" must be {_SHAPES[keyword][1]} (at {where(place)})')
        most = _MOST.get(keyword)
        if most is not None and value > most:
            raise FormatFault(f'"{keyword}" may be at most {most} (at {where(place)})')


def _harmless(keyword: str, value: object) -> bool:
    """Whether the keyword, which is not supported, binds nothing with this value."""
    return (keyword == "uniqueItems" and value is False) or (keyword.startswith("unevaluated") and value in (True, {}))


def _fits(keyword: str, value: Any) -> bool:
    kinds, _ = _SHAPES[keyword]
    if isinstance(value, bool) and bool not in kinds:
        # Until draft 4 these were flags beside `minimum` and `maximum`.
        return keyword in ("exclusiveMinimum", "exclusiveMaximum")
    if not isinstance(value, kinds) or (keyword in _FILLED and not value):
        return False
    if keyword == "required":
        return all(isinstance(name, str) for name in cast(list[Any], value))
    if keyword == "type":
        return all(name in TYPES for name in ([value] if isinstance(value, str) else cast(list[Any], value)))
    if keyword in _MOST:
        return cast(float, value) >= 0 and float(cast(float, value)).is_integer()
    return keyword != "multipleOf" or cast(float, value) > 0


def implied(schema: dict[str, Any]) -> list[str]:
    """The types whose keywords stand in the schema."""
    return [kind for kind, keywords in OWN.items() if any(keyword in schema for keyword in keywords)]


def exact(number: float) -> bool:
    """Whether the grammar engine reads the number as it was meant: its own reading of long fractions is off."""
    if isinstance(number, int) or number.is_integer():
        return abs(number) <= LARGEST
    if not math.isfinite(number):
        return False
    decimal = Decimal(repr(number)).normalize().as_tuple()
    return len(decimal.digits) <= _DIGITS and abs(cast(int, decimal.exponent)) <= _EXPONENT


def bound(number: float, keyword: str, place: Place) -> float:
    """The bound as far as readers of JSON and the engine reach: moved inwards by what they would lose.

    Raises `FormatFault` for one that nothing can meet there.
    """
    upper = keyword.endswith("aximum")
    number = min(number, LARGEST) if upper else max(number, -LARGEST)
    if abs(number) > LARGEST:
        raise FormatFault(f'"{keyword}" must lie within -{LARGEST} and {LARGEST} (at {where(place)})')
    if exact(number):
        return number
    decimal = Decimal(repr(number))
    last = Decimal(1).scaleb(max(decimal.adjusted() - _DIGITS + 1, -_EXPONENT))
    return float(decimal.quantize(last, ROUND_FLOOR if upper else ROUND_CEILING))


def beyond(number: float, *, upper: bool) -> float:
    """The number next to a whole one that a bound can tell from it."""
    step = Decimal(1).scaleb(min(0, len(str(abs(int(number)))) - _DIGITS))
    return float(Decimal(int(number)) + (-step if upper else step))


def values_within(value: Any) -> Iterator[str]:
    """What is wrong with a value of `enum` or `const`, and with all the values inside of it."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and unwritable(item):
            yield "a string with control characters"
        elif isinstance(item, int | float) and not isinstance(item, bool) and not exact(item):
            yield f"a number beyond {LARGEST} or of more than {_DIGITS} digits"
        elif isinstance(item, list):
            waiting.extend(cast(list[Any], item))
        elif isinstance(item, dict):
            waiting.extend(cast(dict[str, Any], item).values())
