"""Values that a model wrote as plain text, made what the tool's schema says they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET

from remuda.wire.chat import Property, Tool

from .json_text import Malformed, decode

__all__ = ["ParameterTypes"]

_IS: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_WORDS = {"true": True, "false": False, "null": None, "none": None}


class ParameterTypes:
    """The types of the parameters of some tools."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._types: dict[tuple[str, str], set[str]] = {}
        for tool in reversed(tools):
            properties = tool.function.parameters.properties
            for key, value in (properties or {}).items():
                self._types[tool.function.name, key] = _types(value)

    def is_text(self, tool: str, key: str) -> bool:
        """Whether the value may be any text: the schema says so, or says nothing that is known here."""
        types = self._types.get((tool, key), set())
        return "string" in types or not types & _IS.keys()

    def value(self, tool: str, key: str, text: str) -> Any:
        """`text` without the line ends round it, as the first of the parameter's types that it fits, else as text."""
        text = text.removeprefix("\n").removesuffix("\n")
        types = self._types.get((tool, key), set()) & _IS.keys()
        if not types:
            return text
        word = text.strip()
        try:
            value = _WORDS[word.lower()] if word.lower() in _WORDS else decode(word)
        except Malformed:
            return text
        return value if any(_IS[kind](value) for kind in types) else text


def _types(schema: Property) -> set[str]:
    """The types that a schema names, through `anyOf` as well."""
    types = {schema.type} if isinstance(schema.type, str) else set(schema.type or ())
    for branch in schema.any_of if schema.any_of is not UNSET else ():
        types |= _types(branch)
    return types
