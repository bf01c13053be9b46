"""What templates see of a conversation: the structs of the protocol with their Go names (Ollama API, "Execution").

Made from the canonical form that `remuda.TemplateEngine.render` takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, cast

from .errors import TemplateError
from .gojson import Tagged, to_json
from .values import Record

__all__ = ["messages", "thinking", "tools", "typescript_type"]

_DEEPEST: Final = 100
_EXACT: Final = 1 << 53
"""Up to here every whole number is a float of the same value."""

_TYPESCRIPT: Final = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


class _Message(Record):
    type_name = "api.Message"
    __slots__ = ()


class _Messages(list[_Message]):
    type_name: ClassVar[str] = "[]api.Message"


class _ToolCall(Record):
    type_name = "api.ToolCall"
    __slots__ = ()


class _ToolCalls(list[_ToolCall]):
    type_name: ClassVar[str] = "[]api.ToolCall"


class _ToolCallFunction(Record):
    type_name = "api.ToolCallFunction"
    __slots__ = ()


class _Images(list[bytes]):
    type_name: ClassVar[str] = "[]api.ImageData"


class _Strings(list[str]):
    type_name: ClassVar[str] = "[]string"


class _Object(dict[str, Any]):
    """The arguments of a call."""

    type_name: ClassVar[str] = "map[string]interface {}"

    def go_string(self) -> str:
        return to_json(self)


class _Property(Tagged):
    type_name = "api.ToolProperty"
    tags: ClassVar[dict[str, str]] = {
        "AnyOf": "anyOf?",
        "Type": "type?",
        "Items": "items?",
        "Description": "description?",
        "Enum": "enum?",
        "Properties": "properties?",
        "Required": "required?",
    }
    __slots__ = ()


class _AnyOf(list[_Property]):
    type_name: ClassVar[str] = "[]api.ToolProperty"


class _Types(list[str]):
    """The types that a parameter may have."""

    type_name: ClassVar[str] = "api.PropertyType"

    def go_string(self) -> str:
        return self[0] if len(self) == 1 else f"[{' '.join(self)}]" if self else ""

    def go_json(self) -> Any:
        return self[0] if len(self) == 1 else list(self)


class _Properties(dict[str, _Property]):
    type_name: ClassVar[str] = "map[string]api.ToolProperty"

    def go_string(self) -> str:
        return to_json(self)


class _AsJson(Tagged):
    """A struct that prints as its JSON."""

    __slots__ = ()

    def go_string(self) -> str:
        return to_json(self)


class _Parameters(_AsJson):
    type_name = "api.ToolFunctionParameters"
    tags: ClassVar[dict[str, str]] = {
        "Type": "type",
        "Defs": "$defs?",
        "Items": "items?",
        "Required": "required?",
        "Properties": "properties",
    }
    __slots__ = ()


class _ToolFunction(_AsJson):
    type_name = "api.ToolFunction"
    tags: ClassVar[dict[str, str]] = {"Name": "name", "Description": "description", "Parameters": "parameters"}
    __slots__ = ()


class _Tool(_AsJson):
    type_name = "api.Tool"
    tags: ClassVar[dict[str, str]] = {"Type": "type", "Items": "items?", "Function": "function"}
    __slots__ = ()


class _Tools(list[_Tool]):
    type_name: ClassVar[str] = "api.Tools"

    def go_string(self) -> str:
        return to_json(self)


def messages(canonical: Iterable[Mapping[str, Any]]) -> list[_Message]:
    """`.Messages`, collated already. Images are as many as there are, without their bytes."""
    return _Messages(
        _Message(
            {
                "Role": message["role"],
                "Content": message.get("content", ""),
                "Thinking": message.get("thinking", ""),
                "Images": _Images([b""] * int(message.get("images", 0))),
                "ToolCalls": _ToolCalls(map(_tool_call, message.get("tool_calls") or ())),
                "ToolName": message.get("tool_name", ""),
                "ToolCallID": message.get("tool_call_id", ""),
            }
        )
        for message in canonical
    )


def tools(canonical: Iterable[Mapping[str, Any]]) -> list[_Tool]:
    """`.Tools`."""
    return _Tools(map(_tool, canonical))


def thinking(think: bool | str | None) -> dict[str, bool | str]:
    """`.Think`, `.ThinkLevel` and `.IsThinkSet`."""
    level = think if isinstance(think, str) else "medium" if think else ""
    return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}


def typescript_type(value: Any) -> str:
    """The function `toTypeScriptType`: the type of a tool's parameter in TypeScript."""
    if not isinstance(value, _Property):
        return "any"
    if value.fields["AnyOf"]:
        return " | ".join(map(typescript_type, value.fields["AnyOf"]))
    return " | ".join(_TYPESCRIPT.get(name, "any") for name in value.fields["Type"]) or "any"


def _tool_call(call: Mapping[str, Any]) -> _ToolCall:
    function: Mapping[str, Any] = call["function"]
    return _ToolCall(
        {
            "ID": call.get("id", ""),
            "Function": _ToolCallFunction(
                {
                    "Index": int(function.get("index", 0)),
                    "Name": function.get("name", ""),
                    "Arguments": _Object(_any(function.get("arguments") or {})),
                }
            ),
        }
    )


def _tool(tool: Mapping[str, Any]) -> _Tool:
    function: Mapping[str, Any] = tool.get("function") or {}
    parameters: Mapping[str, Any] = function.get("parameters") or {}
    return _Tool(
        {
            "Type": tool.get("type") or "function",
            "Items": _any(tool.get("items")),
            "Function": _ToolFunction(
                {
                    "Name": function.get("name", ""),
                    "Description": function.get("description", ""),
                    "Parameters": _Parameters(
                        {
                            "Type": parameters.get("type", ""),
                            "Defs": _any(parameters.get("$defs")),
                            "Items": _any(parameters.get("items")),
                            "Required": _Strings(parameters.get("required") or ()),
                            "Properties": _properties(parameters.get("properties"), _DEEPEST),
                        }
                    ),
                }
            ),
        }
    )


def _properties(canonical: Mapping[str, Any] | None, left: int) -> _Properties:
    return _Properties({name: _property(value, left - 1) for name, value in (canonical or {}).items()})


def _property(schema: Mapping[str, Any], left: int) -> _Property:
    if left < 0:
        raise TemplateError(f"the tools are more than {_DEEPEST} levels deep")
    types = schema.get("type") or ()
    return _Property(
        {
            "AnyOf": _AnyOf(_property(each, left - 1) for each in schema.get("anyOf") or ()),
            "Type": _Types([types] if isinstance(types, str) else types),
            "Items": _any(schema.get("items")),
            "Description": schema.get("description", ""),
            "Enum": _any(schema.get("enum") or []),
            "Properties": _properties(schema.get("properties"), left),
            "Required": _Strings(schema.get("required") or ()),
        }
    )


def _any(value: Any, left: int = _DEEPEST) -> Any:
    """JSON as Go reads it: every number is a float, except whole ones that would lose digits."""
    if left < 0:
        raise TemplateError(f"the messages or tools are more than {_DEEPEST} levels deep")
    match value:
        case bool():
            return value
        case int():
            return float(value) if -_EXACT <= value <= _EXACT else value
        case dict():
            return {key: _any(each, left - 1) for key, each in cast(dict[str, Any], value).items()}
        case list():
            return [_any(each, left - 1) for each in cast(list[Any], value)]
        case _:
            return value
