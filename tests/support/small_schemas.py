"""Random JSON Schemas: what clients ask for, nested, with bounds, patterns and references."""

from __future__ import annotations

import random
from typing import Any

_NAMES = ["name", "age", "tags", "größe", "a b", "x", "items", 'quote"d', "zip_code", "last"]
_WORDS = ["red", "green", "blue", "in progress", "naïve", "日本", 'a"b', "", "0"]
_PATTERNS = [
    r"^[A-Z]{2,4}$",
    r"^\d{3}-\d{4}$",
    r"^[a-z]+(_[a-z]+)*$",
    r"\.txt$",
    r"@example\.(com|org)$",
    r"^#[0-9a-f]{6}$",
    r"foo\d{3}",
    r"^(yes|no|maybe)!?$",
]
_FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "email"]


def random_schema(seed: int, depth: int = 3) -> dict[str, Any]:
    """An object at the top, and a recursive definition that parts of it may refer to."""
    pick = random.Random(seed)
    schema = _object(pick, depth)
    schema["$defs"] = {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    }
    return schema


def _any(pick: random.Random, depth: int) -> dict[str, Any]:
    kinds = [_string, _string, _number, _integer, _enum, _boolean, _constant]
    if depth > 0:
        kinds += [_object, _object, _array, _array, _choice, _reference]
    return pick.choice(kinds)(pick, depth)


def _object(pick: random.Random, depth: int) -> dict[str, Any]:
    names = pick.sample(_NAMES, pick.randint(1, 5))
    return {
        "type": "object",
        "properties": {name: _any(pick, depth - 1) for name in names},
        "required": pick.sample(names, pick.randint(0, len(names))),
        "additionalProperties": pick.choice([False, False, {"type": "integer"}]),
    }


def _array(pick: random.Random, depth: int) -> dict[str, Any]:
    least = pick.randint(0, 4)
    return {"type": "array", "items": _any(pick, depth - 1), "minItems": least, "maxItems": least + pick.randint(0, 4)}


def _choice(pick: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_any(pick, depth - 1) for _ in range(pick.randint(2, 3))]}


def _reference(pick: random.Random, depth: int) -> dict[str, Any]:
    return {"$ref": "#/$defs/node"}


def _string(pick: random.Random, depth: int) -> dict[str, Any]:
    kind = pick.randrange(4)
    if kind == 0:
        least = pick.randint(0, 40)
        return {"type": "string", "minLength": least, "maxLength": least + pick.randint(0, 30)}
    if kind == 1:
        return {"type": "string", "pattern": pick.choice(_PATTERNS)}
    return {"type": "string", "format": pick.choice(_FORMATS)} if kind == 2 else {"type": "string"}


def _integer(pick: random.Random, depth: int) -> dict[str, Any]:
    least = pick.randint(-2000, 2000)
    return {"type": "integer", "minimum": least, "maximum": least + pick.randint(0, 3000)}


def _number(pick: random.Random, depth: int) -> dict[str, Any]:
    return pick.choice([{"type": "number"}, {"type": "number", "minimum": 0.5, "exclusiveMaximum": 17.25}])


def _enum(pick: random.Random, depth: int) -> dict[str, Any]:
    return {"enum": [*pick.sample(_WORDS, pick.randint(1, 4)), pick.choice([None, 3, True])]}


def _boolean(pick: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "boolean"}


def _constant(pick: random.Random, depth: int) -> dict[str, Any]:
    return {"const": pick.choice(_WORDS)}
