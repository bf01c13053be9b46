"""A call of a tool in the JSON that models write for it."""

from __future__ import annotations

from typing import Any, cast

from remuda.output import ToolCall

from .json_text import Malformed, decode

__all__ = ["arguments_of", "call_of"]


def call_of(value: dict[str, Any]) -> ToolCall:
    """The call that an object stands for: a name, arguments, perhaps an id, under the keys that are in use for them.

    An object that names a tool and gives no arguments calls it without any. The name is believed: it may be a tool
    that the request does not have. Raises `Malformed`.
    """
    inner = value.get("function")
    if isinstance(inner, dict):
        value = {**value, **cast("dict[str, Any]", inner)}
    name = next((word for key in ("name", "tool_name", "function") if isinstance(word := value.get(key), str)), "")
    if not name.strip():
        raise Malformed("a call without a name")
    given = next((value[key] for key in ("arguments", "parameters") if key in value), None)
    call_id = next((word for key in ("tool_call_id", "id") if isinstance(word := value.get(key), str)), "")
    return ToolCall(name=name, arguments=arguments_of(given), id=call_id)


def arguments_of(given: Any) -> dict[str, Any]:
    """Arguments as an object, from an object, the JSON text of one, or nothing. Raises `Malformed`."""
    if given is None:
        return {}
    if isinstance(given, str):
        given = decode(given)
    if not isinstance(given, dict):
        raise Malformed("arguments are no object")
    return cast("dict[str, Any]", given)
