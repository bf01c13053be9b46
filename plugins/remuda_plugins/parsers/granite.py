"""Calls as Granite 3 writes them, and Phi 4 mini: a list behind a tag that nothing has to close."""

from __future__ import annotations

from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView

from .force import ToolSchemas, json_literal, lark
from .stream import Steps, StreamParser

__all__ = ["GraniteKind"]

_TOKEN, _TAG = "<|tool_call|>", "<tool_call>"
_CLOSE = ("<|/tool_call|>", "</tool_call>")


class GraniteKind(ParserKind):
    """`<|tool_call|>[{"name": .., "arguments": {..}}, ..]`, or the same behind `<tool_call>`.

    Everything behind the tag is believed to be a call, whatever its name. A template that also writes `</tool_call>`
    is one of Hermes's.
    """

    stage = "tools"
    visible = (_TOKEN, _CLOSE[0])

    def applies(self, view: ParserView) -> bool:
        unclosed = _TAG in view.template and _CLOSE[1] not in view.template and "<|start_of_role|>" in view.template
        return bool(view.tools) and (_TOKEN in view.template or view.tool_tag.startswith(_TOKEN) or unclosed)

    def open(self, view: ParserView) -> OutputParser:
        return _Parser()

    def forced(self, view: ParserView, name: str | None) -> Any:
        tools = ToolSchemas(view, name)
        if not tools:
            return None
        tag = _TOKEN if _TOKEN in view.template or _TAG not in view.template else _TAG
        return lark(f'start: "{tag}[" {json_literal(tools.call())} "]"')


class _Parser(StreamParser):
    def region(self) -> Steps[None]:
        if (yield from self.find(_TOKEN, _TAG)):
            yield from self.space()
            yield from self.calls(*_CLOSE)
