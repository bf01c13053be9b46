"""Calls as DeepSeek V3, R1 and V3.1 write them."""

from __future__ import annotations

from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView, ToolCall

from .force import ToolSchemas, json_literal, lark, quoted
from .json_text import Malformed
from .stream import NAME_LIMIT, Steps, StreamParser

__all__ = ["DeepSeekKind"]

_CALLS, _CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
_SEP = "<｜tool▁sep｜>"
_OPENINGS = (_CALLS, "<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool▁calls｜>", _CALL)
"""The second to fourth are how distilled models, whose vocabulary lacks the tokens, spell the first."""
_FENCE = "```"


class DeepSeekKind(ParserKind):
    """`<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME`, a line end and the arguments fenced as `json`; in V3.1
    `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{..}`. Each ends with `<｜tool▁call▁end｜>`, and tags stand round all.

    Everything between the tags is believed to be a call, whatever its name.
    """

    stage = "tools"
    visible = (_CALLS, _CALLS_END, _CALL, _CALL_END, _SEP)

    def applies(self, view: ParserView) -> bool:
        return bool(view.tools) and (_CALLS in view.template or _CALL in view.template)

    def open(self, view: ParserView) -> OutputParser:
        return _Parser()

    def forced(self, view: ParserView, name: str | None) -> Any:
        schemas = ToolSchemas(view, name, words=True).arguments()
        if not schemas:
            return None
        fenced = f"{_FENCE}json" in view.template
        between, end = (f"\n{_FENCE}json\n", f"\\n{_FENCE}") if fenced else (_SEP, "")
        calls = [f"{quoted(own + between)} {json_literal(schema)}" for own, schema in schemas.items()]
        start = f"{_CALLS}{_CALL}" + (f"function{_SEP}" if fenced else "")
        return lark(f'start: "{start}" ({" | ".join(calls)}) "{end}{_CALL_END}{_CALLS_END}"')


class _Parser(StreamParser):
    def region(self) -> Steps[None]:
        tag = yield from self.find(*_OPENINGS)
        if not tag:
            return
        yield from self.space()
        if tag == _CALL or (yield from self.take(_CALL)):
            yield from self._call()
        else:
            raise Malformed("no call")
        yield from self.take(_CALLS_END)
        yield from self.space()

    def _call(self) -> Steps[None]:
        name = yield from self.up_to(_SEP, limit=NAME_LIMIT)
        if not (yield from self.take(_SEP)):
            raise Malformed("no separator")
        yield from self.space()
        if (yield from self.peek()) != "{":
            # What stood before was only the word "function".
            name = yield from self.word()
            yield from self.space()
            yield from self.take(f"{_FENCE}json", _FENCE)
        if not name.strip():
            raise Malformed("a call without a name")
        arguments = yield from self.object()
        self.call(ToolCall(name=name.strip(), arguments=arguments))
        yield from self.space()
        yield from self.take(_FENCE)
        yield from self.space()
        yield from self.take(_CALL_END)
        yield from self.space()
