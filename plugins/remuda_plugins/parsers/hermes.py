"""Calls as Hermes and Qwen write them, in `<tool_call>`, and the XML of Qwen3-Coder."""

from __future__ import annotations

from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView, ToolCall

from .force import ToolSchemas, is_word, json_literal, lark, quoted
from .json_text import Malformed
from .stream import HELD_LIMIT, NAME_LIMIT, Steps, StreamParser
from .xml_values import ParameterTypes

__all__ = ["HermesKind"]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_NEXT = (_PARAMETER, _FUNCTION_END, _CLOSE)
"""What may follow in a function; models that forget its end write that of the call."""


class HermesKind(ParserKind):
    """`<tool_call>{"name": .., "arguments": {..}}</tool_call>`, or inside the tag
    `<function=NAME><parameter=KEY>value</parameter></function>` or `<function=NAME>{..}</function>`, which is looked
    for without the tag as well if the template writes it.

    Everything between the tags is believed to be a call, whatever its name.
    """

    stage = "tools"
    visible = (_OPEN, _CLOSE)

    def applies(self, view: ParserView) -> bool:
        return bool(view.tools) and (_OPEN in view.template or view.tool_tag == _OPEN or _FUNCTION in view.template)

    def open(self, view: ParserView) -> OutputParser:
        return _Parser((_OPEN, _FUNCTION) if _FUNCTION in view.template else (_OPEN,), ParameterTypes(view.tools))

    def forced(self, view: ParserView, name: str | None) -> Any:
        if _FUNCTION in view.template:
            return _forced_xml(ToolSchemas(view, name, words=True), ParameterTypes(view.tools))
        tools = ToolSchemas(view, name)
        if not tools:
            return None
        return lark(f'start: "{_OPEN}\\n" {json_literal(tools.call())} "\\n{_CLOSE}"')


class _Parser(StreamParser):
    def __init__(self, tags: tuple[str, ...], types: ParameterTypes) -> None:
        super().__init__()
        self._tags = tags
        self._types = types

    def region(self) -> Steps[None]:
        tag = yield from self.find(*self._tags)
        if tag == _OPEN:
            yield from self.space()
            tag = yield from self.take(_FUNCTION)
            if not tag:
                yield from self.calls(_CLOSE)
        if tag == _FUNCTION:
            yield from self._function()
            yield from self.space()
            yield from self.take(_CLOSE)
            yield from self.space()

    def _function(self) -> Steps[None]:
        name = (yield from self._until(">", NAME_LIMIT)).strip()
        arguments: dict[str, Any] = {}
        yield from self.space()
        if (yield from self.peek()) == "{":
            arguments = yield from self.object()
            yield from self.space()
        mark = yield from self.take(*_NEXT)
        while mark == _PARAMETER:
            key = (yield from self._until(">", NAME_LIMIT)).strip()
            value, mark = yield from self._value()
            arguments[key] = self._types.value(name, key, value)
        if not mark or not name:
            raise Malformed("no function")
        self.call(ToolCall(name=name, arguments=arguments))

    def _value(self) -> Steps[tuple[str, str]]:
        """A value, and what of the syntax stands behind it. A closing tag behind which nothing does is in the value."""
        pieces: list[str] = []
        while True:
            pieces.append((yield from self._until(_PARAMETER_END)))
            space = yield from self.space()
            mark = yield from self.take(*_NEXT)
            if mark:
                return "".join(pieces), mark
            pieces += [_PARAMETER_END, space]

    def _until(self, stop: str, limit: int = HELD_LIMIT) -> Steps[str]:
        text = yield from self.up_to(stop, limit=limit)
        if not (yield from self.take(stop)):
            raise Malformed(f"no {stop}")
        return text


def _forced_xml(tools: ToolSchemas, types: ParameterTypes) -> Any:
    """Each call is a rule, and each parameter of it."""
    rules: list[str] = []
    calls: list[str] = []
    for number, (name, schema) in enumerate(tools.arguments().items()):
        parameters: list[str] = []
        for place, (key, value) in enumerate(schema["properties"].items()):
            if is_word(key):
                rule = f"p{number}_{place}"
                whole = {**value, "$defs": schema["$defs"]} if "$defs" in schema else value
                rules += _parameter(rule, key, whole, is_text=types.is_text(name, key))
                parameters.append(rule if key in schema.get("required", ()) else f"{rule}?")
        calls.append(f"f{number}")
        rules.append(f"f{number}: {' '.join([_line(name), *parameters])}")
    if not calls:
        return None
    start = f'start: "{_OPEN}\\n{_FUNCTION}" ({" | ".join(calls)}) "{_FUNCTION_END}\\n{_CLOSE}"'
    return lark(start, *rules)


def _parameter(rule: str, key: str, schema: dict[str, Any], *, is_text: bool) -> list[str]:
    """One of the texts that a list allows, any text up to the closing tag, or JSON."""
    choices = [choice for choice in schema.get("enum", ()) if isinstance(choice, str) and "<" not in choice]
    end = f'"\\n{_PARAMETER_END}\\n"'
    opening = f"{rule}: {quoted(_PARAMETER)} {_line(key)}"
    if is_text and choices:
        return [f"{opening} ({' | '.join(map(quoted, choices))}) {end}"]
    if is_text:
        return [f'{rule}_text[suffix="{_PARAMETER_END}"]: /(?s:.*)/', f'{opening} {rule}_text "\\n"']
    return [f"{opening} {json_literal(schema)} {end}"]


def _line(name: str) -> str:
    return quoted(f"{name}>\n")
