"""A format as servers of OpenAI's API take it (OpenAI API, "Structured outputs")."""

from __future__ import annotations

from typing import Any, Final, cast

from msgspec import structs

from .flavour import STANDARD, Flavour, Learned
from .wire import Asked

__all__ = ["bound_by", "closed"]

_ANY_OBJECT: Final = {"type": "object"}
_ONE: Final = ("items", "additionalProperties", "contains", "not", "if", "then", "else")
_MANY: Final = ("anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "$defs", "definitions", "patternProperties")
"""Keywords by how they hold schemas."""


def bound_by(asked: Asked, format: Any, flavour: Flavour, learned: Learned, *, raw: bool) -> tuple[Asked, str]:
    """The request with a format, and by which kind of `response_format` ("schema" for another field); as it was, and
    "", if the server takes none for it."""
    schema: Any = _ANY_OBJECT if format == "json" else format
    if raw:
        if flavour.raw_format == "json_schema" and "schema" not in learned.formats:
            return structs.replace(asked, json_schema=schema), "schema"
        if not flavour.raw_format:
            return asked, ""
    for kind in flavour.formats:
        if kind in learned.formats:
            continue
        if kind == "json_schema":
            strict = closed(schema) if flavour is STANDARD else schema
            named = {"name": "answer", "schema": strict, "strict": True}
            return structs.replace(asked, response_format={"type": kind, "json_schema": named}), kind
        if kind == "json_object+schema":
            extra = {} if format == "json" else {"schema": schema}
            return structs.replace(asked, response_format={"type": "json_object", **extra}), kind
        if format == "json":
            return structs.replace(asked, response_format={"type": kind}), kind
    return asked, ""


def closed(schema: Any) -> Any:
    """The schema with objects that have the listed properties and no others, where it does not say otherwise. Some
    services take no open objects, and a model is held to closed ones here as well."""
    if not isinstance(schema, dict):
        return schema
    out = dict(cast(dict[str, Any], schema))
    for key in _ONE:
        if isinstance(out.get(key), dict):
            out[key] = closed(out[key])
    for key in _MANY:
        if isinstance(out.get(key), list):
            out[key] = [closed(each) for each in out[key]]
    for key in _NAMED:
        if isinstance(out.get(key), dict):
            out[key] = {name: closed(each) for name, each in out[key].items()}
    # What `allOf` adds would be shut out.
    if "properties" in out and not out.keys() & {"additionalProperties", "patternProperties", "allOf", "$ref"}:
        out["additionalProperties"] = False
    return out
