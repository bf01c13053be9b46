"""Calls as Mistral writes them, behind `[TOOL_CALLS]`."""

from __future__ import annotations

from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView, ToolCall

from .force import ToolSchemas, json_literal, lark, quoted
from .json_text import Malformed
from .stream import Steps, StreamParser

__all__ = ["MistralKind"]

_TAG, _ID, _ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"


class MistralKind(ParserKind):
    """`[TOOL_CALLS] [{"name": .., "arguments": {..}}, ..]`, and since 2025 for each call
    `[TOOL_CALLS]NAME[CALL_ID]id[ARGS]{..}`, where the id may be missing.

    Everything behind the tag is believed to be a call, whatever its name.
    """

    stage = "tools"
    visible = (_TAG, _ID, _ARGS)

    def applies(self, view: ParserView) -> bool:
        return bool(view.tools) and (_TAG in view.template or view.tool_tag.startswith(_TAG))

    def open(self, view: ParserView) -> OutputParser:
        return _Parser()

    def forced(self, view: ParserView, name: str | None) -> Any:
        by_name = _ARGS in view.template
        tools = ToolSchemas(view, name, words=by_name)
        if not tools:
            return None
        if not by_name:
            return lark(f'start: "{_TAG}[" {json_literal(tools.call())} "]"')
        calls = [f"{quoted(own + _ARGS)} {json_literal(schema)}" for own, schema in tools.arguments().items()]
        return lark(f'start: "{_TAG}" ({" | ".join(calls)})')


class _Parser(StreamParser):
    def region(self) -> Steps[None]:
        if not (yield from self.find(_TAG)):
            return
        yield from self.space()
        if (yield from self.peek()) in ("[", "{"):
            yield from self.calls()
            return
        name = yield from self.word()
        mark = yield from self.take(_ID, _ARGS)
        call_id = ""
        if mark == _ID:
            call_id = yield from self.word()
            yield from self.take(_ARGS)
        if not name:
            raise Malformed("a call without a name")
        arguments = yield from self.object()
        self.call(ToolCall(name=name, arguments=arguments, id=call_id))
        yield from self.space()
