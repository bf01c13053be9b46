"""The registered kinds, some tools, and a reader that puts the pieces of an answer together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import msgspec
import pytest

from remuda.output import Output, OutputParser, ParserKind, ParserView, Text, ToolCall
from remuda.wire.chat import Tool
from remuda_plugins.parsers.plugin import remuda_register_parsers

_TOOLS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "hourly": {"type": "boolean"},
                "near": {"type": "array", "items": {"type": "string"}},
                "limit": {"type": ["number", "null"]},
            },
        },
    },
    {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
    {"name": "get", "parameters": {"type": "object", "properties": {"url": {"type": "string"}}}},
]


@pytest.fixture(scope="session")
def kinds() -> dict[str, ParserKind]:
    """Every kind by its name, in the order of registration."""
    made: dict[str, ParserKind] = {}

    def register(name: str, factory: str | Callable[..., object], *, hint: str = "") -> None:
        module, _, attribute = str(factory).partition(":")
        made[name] = getattr(import_module(module), attribute)()

    remuda_register_parsers(register)
    return made


@pytest.fixture(scope="session")
def make_tools() -> Callable[[Iterable[dict[str, Any]]], tuple[Tool, ...]]:
    def make(functions: Iterable[dict[str, Any]]) -> tuple[Tool, ...]:
        return tuple(msgspec.convert({"type": "function", "function": function}, Tool) for function in functions)

    return make


@pytest.fixture(scope="session")
def make_view(make_tools: Callable[..., tuple[Tool, ...]]) -> Callable[..., ParserView]:
    def make(**fields: Any) -> ParserView:
        return ParserView(**{"template": "", "tools": make_tools(_TOOLS), **fields})

    return make


@pytest.fixture(scope="session")
def read() -> Callable[..., list[Any]]:
    """Feed and finish. Texts as `str`, thinking as `("thinking", text)`, calls as they are; neighbours joined."""

    def simple(output: Output) -> Any:
        if isinstance(output, ToolCall):
            return output
        return output.text if isinstance(output, Text) else ("thinking", output.text)

    def join(told: list[Any], output: Any) -> None:
        last = told[-1] if told else None
        if isinstance(output, str) and isinstance(last, str):
            told[-1] = last + output
        elif isinstance(output, tuple) and isinstance(last, tuple):
            told[-1] = ("thinking", last[1] + output[1])
        else:
            told.append(output)

    def read(parser: OutputParser, pieces: Iterable[str]) -> list[Any]:
        told: list[Any] = []
        for piece in pieces:
            for output in parser.feed(piece):
                join(told, simple(output))
        for output in parser.finish():
            join(told, simple(output))
        assert "" not in told
        return told

    return read
