"""What forces a model to call a tool: schemas and grammars that allow nothing but a call.

They need not say all that a tool's own schema says, only enough that what comes out is a call of it. Keywords that a
constraint may not be able to honour are left out rather than refused: the client asked for a call, not for them.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from remuda.output import ParserView
from remuda.wire.chat import Tool

from .stream import NAME_LIMIT

__all__ = ["ToolSchemas", "arguments_schema", "is_word", "json_literal", "lark", "quoted"]

_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_NAME = re.compile(r"""[^\s\[\]{}()<>"'`,;=\x00-\x1f]+""")
_DEPTH = 24
"""How deep a schema is followed; below that anything is allowed."""
_REF = "#/$defs/"


class ToolSchemas:
    """The tools that may be called, by name. Falsy if there is none."""

    def __init__(self, view: ParserView, name: str | None, *, words: bool = False) -> None:
        """All tools of the request, or the one called `name`. Of two with one name the first counts.

        With `words` only those whose names can stand outside quotes.
        """
        self._tools: dict[str, Tool] = {}
        for tool in view.tools:
            own = tool.function.name
            if own.strip() and name in (None, own) and (is_word(own) or not words):
                self._tools.setdefault(own, tool)

    def __len__(self) -> int:
        return len(self._tools)

    def arguments(self) -> dict[str, dict[str, Any]]:
        """The schema of each tool's arguments, whole by itself."""
        return {name: arguments_schema(tool) for name, tool in self._tools.items()}

    def call(self, *, name: str = "name", arguments: str = "arguments") -> dict[str, Any]:
        """The schema of an object that is a call of one of the tools, under the given keys."""
        branches: list[dict[str, Any]] = []
        definitions: dict[str, Any] = {}
        for number, (own, tool) in enumerate(self._tools.items()):
            schema = arguments_schema(tool, prefix=f"t{number}_")
            definitions |= schema.pop("$defs", {})
            branches.append(_object({name: {"const": own}, arguments: schema}, [name, arguments]))
        root = branches[0] if len(branches) == 1 else {"anyOf": branches}
        return {**root, "$defs": definitions} if definitions else root


def arguments_schema(tool: Tool, prefix: str = "") -> dict[str, Any]:
    """The schema of a tool's arguments, always of an object. The names of its definitions begin with `prefix`."""
    try:
        parameters = cast("dict[str, Any]", msgspec.to_builtins(tool.function.parameters))
    except RecursionError:
        parameters = {}
    cleaner = _Cleaner(parameters.get("$defs"), prefix)
    properties = cast("dict[str, Any]", parameters.get("properties", {}))
    schema = cleaner.object(properties, parameters.get("required"), 0)
    definitions = cleaner.definitions()
    return {**schema, "$defs": definitions} if definitions else schema


class _Cleaner:
    """Copies what is kept of a schema."""

    def __init__(self, definitions: Any, prefix: str) -> None:
        known = cast("dict[str, Any]", definitions) if isinstance(definitions, dict) else {}
        self._known = {name: value for name, value in known.items() if re.fullmatch(r"[\w.\-]+", name, re.ASCII)}
        self._prefix = prefix

    def definitions(self) -> dict[str, Any]:
        return {self._prefix + name: self.schema(value, 0) for name, value in self._known.items()}

    def object(self, properties: dict[str, Any], required: Any, depth: int) -> dict[str, Any]:
        """An object with these properties and no others."""
        known = {key: self.schema(value, depth + 1) for key, value in properties.items()}
        names = cast("list[Any]", required) if isinstance(required, list) else []
        return _object(known, [key for key in known if key in names])

    def schema(self, value: Any, depth: int) -> dict[str, Any]:
        """What is kept of a schema; `{}`, which allows anything, of what is none."""
        if not isinstance(value, dict) or depth > _DEPTH:
            return {}
        value = cast("dict[str, Any]", value)
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.removeprefix(_REF) in self._known:
            return {"$ref": _REF + self._prefix + reference.removeprefix(_REF)}
        choices = _scalars(value.get("enum")) or _scalars([value["const"]] if "const" in value else None)
        if choices:
            return {"enum": choices}
        branches = value.get("anyOf")
        if isinstance(branches, list) and branches:
            return {"anyOf": [self.schema(branch, depth + 1) for branch in cast("list[Any]", branches)]}
        return self._typed(value, depth)

    def _typed(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        properties = value.get("properties")
        if isinstance(properties, dict) and properties:
            kept = self.object(cast("dict[str, Any]", properties), value.get("required"), depth)
        if "items" in value:
            kept["items"] = self.schema(value["items"], depth + 1)
        types = _known_types(value.get("type")) or (["object"] if properties else ["array"] if "items" in value else [])
        if types:
            kept["type"] = types[0] if len(types) == 1 else types
        return kept


def is_word(name: str) -> bool:
    """Whether a name can be told from the marks of a syntax that writes it without quotes."""
    return len(name) <= NAME_LIMIT and _NAME.fullmatch(name) is not None


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return schema if required else {key: value for key, value in schema.items() if key != "required"}


def _known_types(given: Any) -> list[str]:
    types = cast("list[Any]", given) if isinstance(given, list) else [given]
    return list(dict.fromkeys(kind for kind in types if isinstance(kind, str) and kind in _TYPES))


def _scalars(given: Any) -> list[Any]:
    values = cast("list[Any]", given) if isinstance(given, list) else []
    return [value for value in values if value is None or isinstance(value, str) or _is_plain_number(value)]


def _is_plain_number(value: Any) -> bool:
    """Whether it is a boolean or a number that every reader of JSON takes for the same."""
    return isinstance(value, (int, float)) and re.fullmatch(r"True|False|-?[\d.]{1,15}", repr(value)) is not None


def lark(*rules: str) -> dict[str, str]:
    """A `format` value with a grammar in llguidance's Lark notation."""
    return {"type": "lark", "grammar": "\n".join(rules) + "\n"}


def quoted(text: str) -> str:
    """A literal text in Lark."""
    return msgspec.json.encode(text).decode()


def json_literal(schema: dict[str, Any]) -> str:
    """A JSON value in Lark, without white space that a small model could go on with for ever."""
    spaces = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return "%json " + msgspec.json.encode({**schema, "x-guidance": spaces}).decode()
