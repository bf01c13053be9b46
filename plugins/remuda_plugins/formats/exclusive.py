"""Whether two JSON Schemas exclude each other, so that "one of them" and "any of them" mean the same.

A proof, not a guess: True is only said where no document can match both, because their types or their values
differ, or because both are objects and a property that one of them requires excludes itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from .fault import FormatFault

__all__ = ["overlap"]

_DEEPEST: Final = 6
_MOST: Final = 32

_KINDS: Final = frozenset(("null", "boolean", "object", "array", "integer", "fraction", "string"))
_OBJECT: Final = frozenset(("object",))
_NUMBERS: Final = frozenset(("integer", "fraction"))


class _Shape(Struct, frozen=True):
    """What any document must look like that matches; `None` and empty where nothing is known."""

    types: frozenset[str] = _KINDS
    values: frozenset[bytes] | None = None
    required: frozenset[str] = frozenset()
    properties: tuple[tuple[str, Any], ...] = ()
    closed: tuple[frozenset[str], ...] = ()
    """Each: the only names there may be."""

    def joined(self, other: _Shape) -> _Shape:
        values = self.values if other.values is None else other.values
        if self.values is not None and other.values is not None:
            values = self.values & other.values
        return _Shape(
            self.types & other.types,
            values,
            self.required | other.required,
            self.properties + other.properties,
            self.closed + other.closed,
        )


def overlap(schemas: list[Any], find: Callable[[str], Any]) -> tuple[int, int] | None:
    """The places of two schemas that may both match a document; None if no two can.

    `find` gives the schema behind a `$ref`, or raises `FormatFault`.
    """
    ways = [_shapes(schema, find, _DEEPEST) for schema in schemas]
    for later, ours in enumerate(ways):
        for earlier in range(later):
            if not all(_apart(one, other, find, _DEEPEST) for one in ours for other in ways[earlier]):
                return earlier, later
    return None


def _apart(one: _Shape, other: _Shape, find: Callable[[str], Any], depth: int) -> bool:
    common = one.types & other.types & _KINDS
    if not common:
        return True
    if one.values is not None and other.values is not None:
        return not one.values & other.values
    if common != _OBJECT:
        return False
    for name in one.required | other.required:
        if any(name not in names for names in (*one.closed, *other.closed)):
            return True
        ours = [schema for key, schema in one.properties if key == name]
        theirs = [schema for key, schema in other.properties if key == name]
        if depth and any(_exclusive(left, right, find, depth - 1) for left in ours for right in theirs):
            return True
    return False


def _exclusive(one: Any, other: Any, find: Callable[[str], Any], depth: int) -> bool:
    others = _shapes(other, find, depth)
    return all(_apart(left, right, find, depth) for left in _shapes(one, find, depth) for right in others)


def _shapes(schema: Any, find: Callable[[str], Any], depth: int) -> list[_Shape]:
    """One for each way to match the schema."""
    if schema is False:
        return []
    if not isinstance(schema, dict) or depth == 0:
        return [_Shape()]
    schema = cast(dict[str, Any], schema)
    try:
        shapes = [_plain(schema)]
    except (TypeError, AttributeError):  # behind a `$ref`, where nothing was checked yet
        return [_Shape()]
    for keyword, value in schema.items():
        if keyword == "$ref" and isinstance(value, str):
            try:
                shapes = _product(shapes, _shapes(find(value), find, depth - 1))
            except FormatFault:
                continue  # it is told where it is followed
        elif keyword == "allOf" and isinstance(value, list):
            for each in cast(list[Any], value):
                shapes = _product(shapes, _shapes(each, find, depth - 1))
        elif keyword in ("anyOf", "oneOf") and isinstance(value, list):
            ways = [shape for each in cast(list[Any], value)[: _MOST + 1] for shape in _shapes(each, find, depth - 1)]
            shapes = _product(shapes, ways)
    return shapes


def _product(left: list[_Shape], right: list[_Shape]) -> list[_Shape]:
    if len(left) * len(right) > _MOST:
        return left  # less is known of it, and nothing wrong
    return [one.joined(other) for one in left for other in right]


def _plain(schema: dict[str, Any]) -> _Shape:
    types: str | list[str] = schema.get("type", list(_KINDS))
    kinds = frozenset((types,)) if isinstance(types, str) else frozenset(types)
    if "number" in kinds:
        kinds |= _NUMBERS
    values: list[Any] | None = [schema["const"]] if "const" in schema else schema.get("enum")
    known: frozenset[bytes] | None = None
    if isinstance(values, list):
        known = frozenset(map(_canonical, values))
        kinds &= frozenset(kind for value in values for kind in _kinds(value))
    listed: dict[str, Any] = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
    return _Shape(
        kinds,
        known,
        frozenset(cast(list[str], schema.get("required", []))),
        tuple(listed.items()),
        (frozenset(listed),) if closed else (),
    )


def _kinds(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset(("null",))
    for kind, name in ((bool, "boolean"), (str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return frozenset((name,))
    return _NUMBERS


def _canonical(value: Any) -> bytes:
    """The same for values that JSON Schema calls equal."""
    return msgspec.json.encode(_floats(value), order="sorted")


def _floats(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return [_floats(each) for each in cast(list[Any], value)]
    if isinstance(value, dict):
        return {key: _floats(each) for key, each in cast(dict[str, Any], value).items()}
    return value
