"""Calls as Cohere's Command models write them: a list of actions."""

from __future__ import annotations

from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView

from .force import ToolSchemas, json_literal, lark
from .json_text import Malformed
from .stream import Steps, StreamParser

__all__ = ["CommandRKind"]

_ACTION, _FENCE = "Action:", "```"
_START, _END = "<|START_ACTION|>", "<|END_ACTION|>"


class CommandRKind(ParserKind):
    """Command R: `Action:` and a fenced list of `{"tool_name": .., "parameters": {..}}`. Since Command R7B
    the same between `<|START_ACTION|>` and `<|END_ACTION|>`, each with a `tool_call_id`, which is told.

    Every name is believed, also `directly_answer`, by which the model says that it needs no tool.
    """

    stage = "tools"
    visible = (_START, _END)

    def applies(self, view: ParserView) -> bool:
        listed = _ACTION in view.template and _FENCE in view.template
        return bool(view.tools) and (_START in view.template or listed)

    def open(self, view: ParserView) -> OutputParser:
        return _Parser()

    def forced(self, view: ParserView, name: str | None) -> Any:
        tools = ToolSchemas(view, name)
        if not tools:
            return None
        call = json_literal(tools.call(name="tool_name", arguments="parameters"))
        if _START in view.template:
            return lark(f'start: "{_START}[" {call} "]{_END}"')
        return lark(f'start: "{_ACTION} {_FENCE}json\\n[" {call} "]\\n{_FENCE}"')


class _Parser(StreamParser):
    def region(self) -> Steps[None]:
        tag = yield from self.find(_START, _ACTION)
        if tag == _ACTION:
            yield from self.space()
            if not (yield from self.take(f"{_FENCE}json", _FENCE)):
                raise Malformed("no list of actions")
        if tag:
            yield from self.space()
            yield from self.calls(_END, _FENCE)
