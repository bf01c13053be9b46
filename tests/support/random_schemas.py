"""Random JSON Schemas, such as people write: nested objects and arrays, enums, `$ref`, `anyOf`, bounds and patterns."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["random_schema"]

Schema = dict[str, Any]

_NAMES = (
    "name age email street city zip country id title status tags items count price ratio active parent notes "
    "created_at unit-price größe $type"
).split()
_WORDS = ("red", "green", "blue", "north", "south", "Ärger", 'with "quotes"', "a/b", "new\nline", "")
_PATTERNS = (
    r"^[A-Z]{2}[0-9]{4}$",
    r"^\d{3}-\d{4}$",
    r"^(cat|dog|bird)s?$",
    r"^[a-z]+(_[a-z]+){0,2}$",
    r"^#[0-9a-fA-F]{6}$",
    r"^\w{1,8}\.(?:txt|csv)$",
    r"^[^\"\s]{1,6}$",
    r"^v\d+(\.\d+){1,2}$",
)
_FORMATS = ("date", "time", "date-time", "ipv4", "uuid")


def random_schema(rng: random.Random, *, depth: int = 5, recursive: bool = False) -> Schema:
    """A schema of an object that some document matches, nested at most `depth` deep.

    With `recursive` some of its definitions refer to themselves.
    """
    return _Maker(rng, recursive).root(depth)


class _Maker:
    def __init__(self, rng: random.Random, recursive: bool) -> None:
        self._rng = rng
        self._recursive = recursive
        self._definitions: dict[str, Schema] = {}

    def root(self, depth: int) -> Schema:
        for number in range(self._rng.randint(0, 2)):
            self._definitions[f"shared{number}"] = self._any(self._rng.randint(0, 2))
        if self._recursive:
            self._definitions["node"] = self._node()
        schema = self._object(depth)
        if self._definitions:
            schema["$defs"] = self._definitions
        if self._rng.random() < 0.3:
            schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A thing"}
        return schema

    def _any(self, depth: int) -> Schema:
        if depth <= 0:
            return self._leaf()
        makers = [self._object, self._object, self._array, self._any_of, lambda _: self._leaf()]
        if self._definitions:
            makers.append(lambda _: {"$ref": f"#/$defs/{self._rng.choice(list(self._definitions))}"})
        schema = self._rng.choice(makers)(depth)
        if self._rng.random() < 0.2:
            schema |= {"description": "What it is for.", "default": None}
        return schema

    def _object(self, depth: int) -> Schema:
        names = self._rng.sample(_NAMES, self._rng.randint(1, 3 if depth < 4 else 4))
        schema: Schema = {"type": "object", "properties": {name: self._any(depth - 1) for name in names}}
        if self._rng.random() < 0.8:
            schema["required"] = [name for name in names if self._rng.random() < 0.7]
        if self._rng.random() < 0.6:
            schema["additionalProperties"] = False
        elif self._rng.random() < 0.2:
            schema["additionalProperties"] = self._leaf()
        return schema

    def _array(self, depth: int) -> Schema:
        least = self._rng.randint(0, 2)
        schema: Schema = {"type": "array", "minItems": least, "maxItems": least + self._rng.randint(0, 3)}
        if self._rng.random() < 0.8:
            return {**schema, "items": self._any(depth - 1)}
        return {"type": "array", "prefixItems": [self._any(depth - 1), self._leaf()], "items": False, "minItems": 2}

    def _any_of(self, depth: int) -> Schema:
        if self._rng.random() < 0.3:
            return {"anyOf": [self._any(depth - 1), {"type": "null"}]}
        return {"anyOf": [self._any(depth - 1) for _ in range(self._rng.randint(2, 3))]}

    def _node(self) -> Schema:
        following = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}
        return {
            "type": "object",
            "properties": {"value": self._leaf(), "next": following},
            "required": ["value", "next"],
            "additionalProperties": False,
        }

    def _leaf(self) -> Schema:
        return self._rng.choice((self._string, self._string, self._integer, self._number, self._choice, self._simple))()

    def _simple(self) -> Schema:
        return {"type": self._rng.choice(["boolean", "null", ["boolean", "null"], ["integer", "null"]])}

    def _string(self) -> Schema:
        how = self._rng.random()
        if how < 0.35:
            return {"type": "string", "pattern": self._rng.choice(_PATTERNS)}
        if how < 0.5:
            return {"type": "string", "format": self._rng.choice(_FORMATS)}
        least = self._rng.randint(0, 4)
        return {"type": "string", "minLength": least, "maxLength": least + self._rng.randint(0, 20)}

    def _integer(self) -> Schema:
        low = self._rng.randint(-1000, 1000)
        schema: Schema = {"type": "integer", "minimum": low, "maximum": low + self._rng.choice((0, 5, 99, 10**6))}
        if self._rng.random() < 0.2:
            schema = {"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": low + 50, "multipleOf": 7}
        return schema

    def _number(self) -> Schema:
        low = round(self._rng.uniform(-100, 100), self._rng.randint(0, 2))
        return {"type": "number", "minimum": low, "maximum": low + 10, "multipleOf": self._rng.choice((0.5, 0.25, 1))}

    def _choice(self) -> Schema:
        if self._rng.random() < 0.3:
            return {"const": self._rng.choice([*_WORDS, 7, -2.5, True, None, ["a", 1], {"kind": "x"}])}
        words = self._rng.sample(_WORDS, self._rng.randint(1, 4))
        if self._rng.random() < 0.7:
            return {"type": "string", "enum": words}
        return {"enum": [*words, self._rng.randint(-9, 9), None, False]}
