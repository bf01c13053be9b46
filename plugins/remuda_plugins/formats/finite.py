"""Takes out of a rewritten schema what no finite document can match: an object that requires another of its kind.

The engine would begin such an object and never come to its end.
"""

from __future__ import annotations

from typing import Any, Final, cast

from .fault import FormatFault

__all__ = ["without_endless"]

_SCALARS: Final = {"null", "boolean", "number", "integer", "string"}
_NAMED: Final = ("properties", "patternProperties")
"""Keywords whose values are schemas by name, and the names a client's: they may be keywords."""


def without_endless(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, with `false` for what has no end; other contradictions are the engine's to find.

    Raises `FormatFault` if nothing is left.
    """
    definitions: dict[str, Any] = schema.get("$defs", {})
    finite: set[str] = set()
    progress = True
    while progress:
        progress = False
        # Definitions stand in the order in which they were met: what is pointed to usually after what points.
        for name in reversed(definitions):
            if name not in finite and _ends(definitions[name], finite):
                finite.add(name)
                progress = True
    if not _ends(schema, finite):
        raise FormatFault("no finite document can match it")
    return schema if len(finite) == len(definitions) else _pruned(schema, finite)


def _pruned(schema: Any, finite: set[str]) -> Any:
    if isinstance(schema, list):
        return [_pruned(each, finite) for each in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    schema = cast(dict[str, Any], schema)
    if "$ref" in schema:
        return schema if _points_to(schema, finite) else False
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$defs":
            out[keyword] = {name: _pruned(each, finite) for name, each in value.items() if name in finite}
        elif keyword in _NAMED:
            out[keyword] = {name: _pruned(each, finite) for name, each in value.items()}
        else:
            out[keyword] = value if keyword in ("const", "enum") else _pruned(value, finite)
    return out


def _points_to(schema: dict[str, Any], finite: set[str]) -> bool:
    return schema["$ref"].removeprefix("#/$defs/") in finite


def _ends(schema: Any, finite: set[str]) -> bool:
    """Whether a document can end here, if it can behind the references `finite`."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return _points_to(schema, finite)
    if not all(_ends(each, finite) for each in schema.get("allOf", ())):
        return False
    if "anyOf" in schema:
        return any(_ends(each, finite) for each in schema["anyOf"])
    types = schema.get("type")
    if types is None or "enum" in schema or "const" in schema:
        return True
    types = {types} if isinstance(types, str) else set(types)
    return (
        bool(types & _SCALARS)
        or ("array" in types and _array_ends(schema, finite))
        or ("object" in types and _object_ends(schema, finite))
    )


def _array_ends(schema: dict[str, Any], finite: set[str]) -> bool:
    least = schema.get("minItems", 0)
    first = schema.get("prefixItems", [])
    return all(_ends(each, finite) for each in first[:least]) and (
        least <= len(first) or _ends(schema.get("items", True), finite)
    )


def _object_ends(schema: dict[str, Any], finite: set[str]) -> bool:
    properties = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    return all(
        (name in properties and _ends(properties[name], finite))
        # Without more is known of the patterns, a name that is not listed may match one.
        or (name not in properties and ("patternProperties" in schema or _ends(rest, finite)))
        for name in schema.get("required", ())
    )
