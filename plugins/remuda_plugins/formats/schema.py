"""A client's JSON Schema, rewritten until the grammar engine can honour it whole, or refused.

The engine ignores some keywords, follows different drafts, reads regular expressions its own way and depends on the
order of keywords. So it is never given the client's schema: it gets one made of the keywords and forms that it is
known to honour, with every `$ref` pointing into `$defs`. Properties keep the client's order.

What is written obeys the schema and may be held tighter, where that is what people mean: an object has the
properties that are listed and no others unless the schema says so, an array no more items than `prefixItems` lists,
a schema without `type` the types that its keywords are for, and whole numbers stay exact in every reader.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, cast
from urllib.parse import unquote

from .exclusive import overlap
from .fault import FormatFault, Place, where
from .keywords import LARGEST, OWN, TYPES, beyond, bound, check, exact, implied, values_within
from .patterns import rewrite as rewrite_pattern
from .times import TIMES

__all__ = ["FORMATS", "rewrite_schema"]

FORMATS: Final = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
"""Values of `format` that strings are held to."""

_DEEPEST: Final = 60
_MOST_SCHEMAS: Final = 5000
_MOST_NAMES: Final = 1000
_BINDING: Final = frozenset(("enum", "const", *(keyword for keywords in OWN.values() for keyword in keywords)))


def rewrite_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Raises `FormatFault`."""
    return _Rewriter(schema).run()


class _Rewriter:
    """`merged` schemas are intersected with others: nothing may be assumed about what these add."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._names: dict[tuple[Place, bool], str] = {}
        self._waiting: deque[tuple[Place, bool, Any]] = deque()
        self._count = 0

    def run(self) -> dict[str, Any]:
        written = self._schema(self._root, (), merged=False)
        definitions: dict[str, Any] = {}
        while self._waiting:
            place, merged, target = self._waiting.popleft()
            definitions[self._names[place, merged]] = self._schema(target, place, merged=merged)
        if written is False:
            raise FormatFault("nothing can match it")
        out = {} if written is True else cast(dict[str, Any], written)
        return {**out, "$defs": definitions} if definitions else out

    def _schema(self, schema: Any, place: Place, *, merged: bool) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise FormatFault(f"a schema must be an object or true or false (at {where(place)})")
        self._count += 1
        if self._count > _MOST_SCHEMAS:
            raise FormatFault(f"it has more than {_MOST_SCHEMAS} schemas inside")
        if len(place) > _DEEPEST:
            raise FormatFault(f"it is nested too deep (at {where(place)})")
        schema = cast(dict[str, Any], schema)
        check(schema, place)
        binding = any(keyword in _BINDING for keyword in schema)
        several = binding + len(schema.get("allOf", ())) + sum(key in schema for key in ("anyOf", "oneOf", "$ref"))
        pieces = self._pieces(schema, place, merged=merged or several > 1, alone=several == binding)
        if not pieces:
            return True
        return pieces[0] if len(pieces) == 1 else {"allOf": pieces}

    def _pieces(self, schema: dict[str, Any], place: Place, *, merged: bool, alone: bool) -> list[Any]:
        """In the order in which the keywords came: it is the order of the properties."""
        pieces: list[Any] = []
        own = False
        for keyword, value in schema.items():
            inside = (*place, keyword)
            if keyword in _BINDING and not own:
                own = True
                pieces.append(self._own(schema, place, merged=merged, alone=alone))
            elif keyword == "allOf":
                pieces.extend(self._each(value, inside, merged=merged))
            elif keyword == "anyOf":
                pieces.append({"anyOf": self._each(value, inside, merged=merged)})
            elif keyword == "oneOf":
                pieces.append({"anyOf": self._one_of(value, inside, merged=merged)})
            elif keyword == "$ref":
                pieces.append(self._ref(value, inside, merged=merged))
        if "type" in schema and not own:
            pieces.insert(0, self._own(schema, place, merged=merged, alone=alone))
        return pieces

    def _each(self, schemas: list[Any], place: Place, *, merged: bool) -> list[Any]:
        return [self._schema(each, (*place, index), merged=merged) for index, each in enumerate(schemas)]

    def _one_of(self, schemas: list[Any], place: Place, *, merged: bool) -> list[Any]:
        written = self._each(schemas, place, merged=merged)
        both = overlap(schemas, lambda ref: self._find(ref, place)[1])
        if both is not None:
            raise FormatFault(
                f'"oneOf" is supported where its schemas exclude each other, and [{both[0]}] and [{both[1]}] may both '
                f'match; write "anyOf" (at {where(place)})'
            )
        return written

    def _ref(self, ref: str, place: Place, *, merged: bool) -> dict[str, Any]:
        target, schema = self._find(ref, place)
        key = target, merged
        if key not in self._names:
            self._names[key] = str(len(self._names))
            self._waiting.append((target, merged, schema))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _find(self, ref: str, place: Place) -> tuple[Place, Any]:
        """What a `$ref` that stands at `place` points to, and where that is."""
        if ref != "#" and not ref.startswith("#/"):
            raise FormatFault(
                f'"$ref" must point into the schema itself, such as "#/$defs/name"; got {_short(ref)} '
                f"(at {where(place)})"
            )
        found: Any = self._root
        target: list[str | int] = []
        self._same_base(place)
        for raw in unquote(ref).split("/")[1:]:
            name = raw.replace("~1", "/").replace("~0", "~")
            step = int(name) if isinstance(found, list) and name.isdecimal() and len(name) < 10 else name
            try:
                found = cast(Any, found)[step]
            except (KeyError, IndexError, TypeError):
                raise FormatFault(f'"$ref" points to nothing: {_short(ref)} (at {where(place)})') from None
            target.append(step)
        self._same_base(tuple(target))
        return tuple(target), found

    def _same_base(self, place: Place) -> None:
        """A schema with an `$id` of its own is the root of the references inside."""
        found: Any = self._root
        for step in place:
            found = found[step]
            if _has_base(found):
                raise FormatFault(f'"$ref" is not supported inside of a schema with an "$id" (at {where(place)})')

    def _own(self, schema: dict[str, Any], place: Place, *, merged: bool, alone: bool) -> dict[str, Any]:
        """The schema's own keywords, without the ones that bring in other schemas."""
        out: dict[str, Any] = {}
        for keyword in ("const", "enum"):
            if keyword in schema:
                for fault in values_within(schema[keyword]):
                    raise FormatFault(f'"{keyword}" holds {fault}, which is not supported (at {where(place)})')
                out[keyword] = schema[keyword]
        types: list[str] = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
        if not types and alone and not merged and not out:
            types = implied(schema)
        if types:
            out["type"] = types[0] if len(types) == 1 else list(dict.fromkeys(types))
        admitted = types or TYPES
        if "object" in admitted:
            out |= self._object(schema, place, merged=merged)
        if "array" in admitted:
            out |= self._array(schema, place, merged=merged)
        if "string" in admitted:
            out |= _string(schema, place)
        if "number" in admitted or "integer" in admitted:
            out |= _number(schema, place, whole="number" not in admitted, merged=merged)
        return out

    def _object(self, schema: dict[str, Any], place: Place, *, merged: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        listed: dict[str, Any] = schema.get("properties", {})
        patterns: dict[str, Any] = schema.get("patternProperties", {})
        required = list(dict.fromkeys(cast(list[str], schema.get("required", []))))
        if len(listed) > _MOST_NAMES or len(required) > _MOST_NAMES:
            raise FormatFault(f"an object may have at most {_MOST_NAMES} properties (at {where(place)})")
        names: dict[str, Any] = {
            name: self._schema(each, (*place, "properties", name), merged=merged) for name, each in listed.items()
        }
        if patterns and merged:
            raise FormatFault(
                f'"patternProperties" is not supported where several schemas bind one object (at {where(place)})'
            )
        closed = schema.get("additionalProperties") is False and not patterns
        if listed and not patterns and "additionalProperties" not in schema and not merged:
            closed = True
            names |= {name: True for name in required if name not in names}
            out["additionalProperties"] = False
        elif "additionalProperties" in schema:
            inside = (*place, "additionalProperties")
            out["additionalProperties"] = self._schema(schema["additionalProperties"], inside, merged=merged)
        if names:
            out["properties"] = names
        if patterns:
            out["patternProperties"] = {
                _pattern(pattern, "patternProperties", place): self._schema(
                    each, (*place, "patternProperties", pattern), merged=merged
                )
                for pattern, each in patterns.items()
            }
        if required:
            out["required"] = required
        return out | _counts(schema, place, required=len(required), names=len(names) if closed else None)

    def _array(self, schema: dict[str, Any], place: Place, *, merged: bool) -> dict[str, Any]:
        out: dict[str, Any] = {key: int(schema[key]) for key in ("minItems", "maxItems") if key in schema}
        first, rest = "prefixItems", "items"
        if isinstance(schema.get("items"), list):  # until draft 2020-12
            if first in schema:
                raise FormatFault(f'"prefixItems" and an array of "items" exclude each other (at {where(place)})')
            first, rest = "items", "additionalItems"
        if first in schema:
            out["prefixItems"] = self._each(schema[first], (*place, first), merged=merged)
        if rest in schema:
            out["items"] = self._schema(schema[rest], (*place, rest), merged=merged)
        elif first in schema and not merged and out.get("minItems", 0) <= len(schema[first]):
            out["items"] = False
        return out


def _counts(schema: dict[str, Any], place: Place, *, required: int, names: int | None) -> dict[str, Any]:
    """Bounds on the number of properties. `names`: how many there can be at all, if that is known.

    A key that is written twice counts twice for the engine and once for a reader, so it cannot be trusted with more
    than "at least one".
    """
    out: dict[str, Any] = {}
    least, most = int(schema.get("minProperties", 0)), schema.get("maxProperties")
    if least > max(1, required):
        raise FormatFault(
            f'"minProperties" is supported up to 1 or the number of required properties (at {where(place)})'
        )
    if least > required:
        out["minProperties"] = least
    if most is not None and (names is None or names > most):
        out["maxProperties"] = int(most)
    return out


def _string(schema: dict[str, Any], place: Place) -> dict[str, Any]:
    out: dict[str, Any] = {key: int(schema[key]) for key in ("minLength", "maxLength") if key in schema}
    if "pattern" in schema:
        out["pattern"] = _pattern(schema["pattern"], "pattern", place)
    name = schema.get("format")
    if name in TIMES:
        if "pattern" in out:
            out["allOf"] = [{"pattern": TIMES[name]}]
        else:
            out["pattern"] = TIMES[name]
    elif name in FORMATS:
        out["format"] = name
    elif name is not None:
        raise FormatFault(
            f'"format": {_short(name)} is not supported for strings (at {where(place)}); '
            f"supported are {', '.join(FORMATS)}"
        )
    return out


def _pattern(pattern: str, keyword: str, place: Place) -> str:
    try:
        return rewrite_pattern(pattern)
    except FormatFault as fault:
        raise FormatFault(
            f'"{keyword}" holds a regular expression that is not supported: {fault} (at {where(place)})'
        ) from None


def _number(schema: dict[str, Any], place: Place, *, whole: bool, merged: bool) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for inclusive, exclusive_ in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        flag = schema.get(exclusive_)
        if inclusive in schema:
            out[exclusive_ if flag is True else inclusive] = bound(schema[inclusive], inclusive, place)
        if flag is not None and not isinstance(flag, bool):
            out[exclusive_] = bound(flag, exclusive_, place)
    if whole:
        out.setdefault("minimum", -LARGEST)
        out.setdefault("maximum", LARGEST)
    else:
        _exclude_whole(out, merged=merged)
    if "multipleOf" in schema:
        if merged:
            raise FormatFault(
                f'"multipleOf" is not supported where several schemas bind one number (at {where(place)})'
            )
        if not exact(schema["multipleOf"]):
            raise FormatFault(f'"multipleOf" has too many digits (at {where(place)})')
        out["multipleOf"] = schema["multipleOf"]
    return out


def _exclude_whole(bounds: dict[str, Any], *, merged: bool) -> None:
    """Write "above 3" as "from 3.00...1" next to a bound such as 3.5: from "above 3" the engine would allow 3 there."""
    low, high = bounds.get("exclusiveMinimum"), bounds.get("exclusiveMaximum")
    lowest = max((bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds), default=-math.inf)
    highest = min((bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds), default=math.inf)
    if low is not None and float(low).is_integer() and (merged or highest < low + 1):
        del bounds["exclusiveMinimum"]
        bounds["minimum"] = max(bounds.get("minimum", -math.inf), beyond(low, upper=False))
    if high is not None and float(high).is_integer() and (merged or lowest > high - 1):
        del bounds["exclusiveMaximum"]
        bounds["maximum"] = min(bounds.get("maximum", math.inf), beyond(high, upper=True))


def _has_base(schema: Any) -> bool:
    base = cast(dict[str, Any], schema).get("$id") if isinstance(schema, dict) else None
    return isinstance(base, str) and not base.startswith("#")


def _short(text: object) -> str:
    return repr(str(text)[:80])
