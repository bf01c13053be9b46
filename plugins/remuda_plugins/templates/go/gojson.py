"""JSON as Go's `encoding/json` writes it: compact, maps sorted, made safe for HTML."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar, Final, Protocol, cast, runtime_checkable

from .floats import format_float
from .utf8 import final
from .values import Record, held

__all__ = ["Marshaler", "Tagged", "to_json"]

_FOR_HTML: Final = str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)


class Tagged(Record):
    """A struct whose fields have names of their own in JSON."""

    tags: ClassVar[dict[str, str]] = {}
    """The name of each field that is written; those that end with `?` are left out when empty."""


@runtime_checkable
class Marshaler(Protocol):
    """A value that is another in JSON."""

    def go_json(self) -> Any: ...


def to_json(value: Any) -> str:
    """The value's JSON. The caller bounds how deep it is."""
    value = held(value)
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return json.dumps(final(value), ensure_ascii=False).translate(_FOR_HTML)
        case int():
            return str(int(value))
        case float():
            return _number(value)
        case bytes():
            return to_json(base64.b64encode(value).decode())
        case dict():
            return _object(dict(sorted(cast(dict[str, Any], value).items())))
        case Marshaler():
            return to_json(value.go_json())
        case list() | tuple():
            return "[" + ",".join(map(to_json, cast(list[Any], value))) + "]"
        case Record():
            return _object(_members(value))
        case _:
            return "null"


def _object(members: dict[str, Any]) -> str:
    return "{" + ",".join(f"{to_json(name)}:{to_json(value)}" for name, value in members.items()) + "}"


def _members(record: Record) -> dict[str, Any]:
    if not isinstance(record, Tagged):
        return record.fields
    members: dict[str, Any] = {}
    for field, tag in record.tags.items():
        value = record.fields[field]
        if not tag.endswith("?") or isinstance(value, Record) or value:
            members[tag.rstrip("?")] = value
    return members


def _number(value: float) -> str:
    if value and not 1e-6 <= abs(value) < 1e21:
        return format_float(value, "e").replace("e-0", "e-")
    return format_float(value, "f")
