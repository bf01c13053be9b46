"""Calls as Llama 3 writes them: bare JSON at the start of the answer, or anything behind `<|python_tag|>`."""

from __future__ import annotations

from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView, ToolCall

from .force import ToolSchemas
from .json_text import Malformed, decode
from .stream import Steps, StreamParser

__all__ = ["Llama3Kind"]

_TAG = "<|python_tag|>"
_METHOD = ".call"


class Llama3Kind(ParserKind):
    """`{"name": .., "parameters": {..}}`, several parted by `;`, `,` or white space, and after the tag also
    `NAME.call(key="value", ..)`, as for the tools that Llama was trained with.

    Without the tag nothing but the name tells a call from an answer in JSON, so it must be that of a tool of the
    request. Behind the tag every name is believed. Code behind the tag that is no such call is text.
    """

    stage = "tools"
    visible = (_TAG,)

    def applies(self, view: ParserView) -> bool:
        written = _TAG in view.template
        described = "<|start_header_id|>" in view.template and '"parameters"' in view.template
        return bool(view.tools) and (written or described)

    def open(self, view: ParserView) -> OutputParser:
        return _Parser(frozenset(tool.function.name for tool in view.tools))

    def forced(self, view: ParserView, name: str | None) -> Any:
        tools = ToolSchemas(view, name)
        return tools.call(arguments="parameters") if tools else None


class _Parser(StreamParser):
    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names
        self._at_start = True
        self._bare = False

    def region(self) -> Steps[None]:
        if self._at_start:
            self._at_start = False
            yield from self.pass_space()
            self._bare = (yield from self.peek()) == "{"
            if self._bare:
                yield from self.calls()
                return
        self._bare = False
        if not (yield from self.find(_TAG)):
            return
        yield from self.space()
        if (yield from self.peek()) == "{":
            yield from self.calls()
        else:
            yield from self._method()
            yield from self.space()

    def understand(self, value: dict[str, Any]) -> ToolCall:
        call = super().understand(value)
        if self._bare and call.name not in self._names:
            raise Malformed("a call of an unknown tool")
        return call

    def _method(self) -> Steps[None]:
        name = yield from self.word()
        if not name.endswith(_METHOD) or name == _METHOD or not (yield from self.take("(")):
            raise Malformed("code")
        arguments: dict[str, Any] = {}
        yield from self.space()
        while not (yield from self.take(")")):
            key = yield from self.word()
            yield from self.space()
            if not key or not (yield from self.take("=")):
                raise Malformed("no keyword")
            arguments[key] = yield from self._value()
            yield from self.space()
            if (yield from self.take(",")):
                yield from self.space()
            elif (yield from self.peek()) != ")":
                raise Malformed("no next keyword")
        self.call(ToolCall(name=name.removesuffix(_METHOD), arguments=arguments))

    def _value(self) -> Steps[Any]:
        yield from self.space()
        if (yield from self.peek()) == '"':
            return (yield from self.string())
        return decode((yield from self.word()))
