"""Calls as JSON, for every template that no other kind knows (Ollama API, "Thinking and tool-call parsing")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from remuda.output import OutputParser, ParserKind, ParserView, ToolCall

from .calls import arguments_of
from .force import ToolSchemas, json_literal, lark, quoted
from .json_text import Malformed
from .stream import NAME_LIMIT, Steps, StreamParser

__all__ = ["JsonKind"]

_WORD = re.compile(r"""[^\s\[\]{}()<>"'`,;=|]+""")
_BRACKETS = {"<": ">", "[": "]"}
_PAIRS = {"[": "]", "```": "```"}
"""What may stand round calls behind a tag."""


class JsonKind(ParserKind):
    """Behind the tag that the template writes before calls: the name of a tool and an object, in one another or
    one after the other. Without a tag an answer that begins with `{` is looked at, and with the tag `[` one that
    begins with that.

    Unlike elsewhere only the tools of the request can be called: any JSON looks like a call here, so the name is all
    there is to tell it by.
    """

    stage = "tools"

    def applies(self, view: ParserView) -> bool:
        return bool(view.tools)

    def open(self, view: ParserView) -> OutputParser:
        names = frozenset(tool.function.name for tool in view.tools)
        return _Parser(names - {""}, view.tool_tag.strip() or "{")

    def forced(self, view: ParserView, name: str | None) -> Any:
        tools = ToolSchemas(view, name)
        tag = view.tool_tag.strip()
        if not tools or tag in ("", "{"):
            return tools.call() if tools else None
        return lark(f"start: {quoted(tag)} {json_literal(tools.call())}" + (' "]"' if tag.endswith("[") else ""))


class _Parser(StreamParser):
    def __init__(self, names: frozenset[str], tag: str) -> None:
        super().__init__()
        self._names = names
        self._tag = tag
        self._closing = _closing(tag)
        self._at_start = True

    def region(self) -> Steps[None]:
        if self._tag in ("{", "["):
            yield from self._at_start_only()
        elif (yield from self.find(self._tag)):
            before = yield from self.up_to("{", self._tag, limit=NAME_LIMIT)
            yield from self._calls(before, self._tag + before)

    def _at_start_only(self) -> Steps[None]:
        if not self._at_start:
            yield from self.find()
            return
        self._at_start = False
        yield from self.pass_space()
        if self._tag == "[" and not (yield from self.take("[")):
            return
        yield from self._calls("", self._tag)

    def _calls(self, before: str, opening: str) -> Steps[None]:
        """Read calls. `before` is what stands between the tag and the first, `opening` that with the tag."""
        closing = self._closing + tuple(end for begin, end in _PAIRS.items() if begin in opening)
        words = [_bare(word) for word in _WORD.findall(before)]
        name = next((word for word in words if word in self._names), "")
        prose = before if any(word not in self._names and word != "json" for word in words) else ""
        while True:
            value = yield from self.object()
            told = self._call(value, name)
            self.say(prose)
            self.call(told)
            yield from self._between(closing)
            name, prose = "", ""
            if (yield from self.peek()) != "{":
                name = yield from self.take(*self._names)
                if not name:
                    return

    def _between(self, closing: tuple[str, ...]) -> Steps[None]:
        """Drop white space and closing tags; hold a comma or semicolon, which is text if no call follows."""
        yield from self.space()
        while (yield from self.take(*closing)):
            yield from self.space()
        self.drop()
        if (yield from self.take(",", ";")):
            yield from self.space()
            if (yield from self.peek()) != "{":
                raise Malformed("no further call")

    def _call(self, value: dict[str, Any], prefix: str) -> ToolCall:
        name = prefix or next((word for word in _words(value) if word in self._names), "")
        if not name:
            raise Malformed("no tool of the request is named")
        return ToolCall(name=name, arguments=self._arguments(value, name, prefixed=bool(prefix)))

    def _arguments(self, value: dict[str, Any], name: str, *, prefixed: bool) -> dict[str, Any]:
        """The arguments of the first object in it that names the tool, or the value under the tool's name, else all.

        Raises `Malformed` if it is a call of something else that mentions the tool.
        """
        for node in _objects(value):
            told = node.get("name")
            key = next((key for key in ("arguments", "parameters") if key in node), "")
            if told == name:
                return arguments_of(node[key]) if key else {k: v for k, v in node.items() if k != "name"}
            if isinstance(told, str) and not prefixed and (key or node is value):
                raise Malformed("a call of an unknown tool")
            if node.get(name) is not None:
                try:
                    return arguments_of(node[name])
                except Malformed:
                    continue
        return value


def _closing(tag: str) -> tuple[str, ...]:
    """What may stand behind a call: the first word of the tag again, with a slash in it."""
    word = tag.split(maxsplit=1)[0]
    end = _BRACKETS.get(word[0])
    return (f"{word[0]}/{word[1:]}",) if end and word.endswith(end) else ()


def _bare(word: str) -> str:
    return word.removeprefix("functions.").rstrip(":")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object, outermost first. Its depth is bounded where it was read."""
    if isinstance(value, dict):
        node = cast("dict[str, Any]", value)
        yield node
        for child in node.values():
            yield from _objects(child)
    elif isinstance(value, list):
        for child in cast("list[Any]", value):
            yield from _objects(child)


def _words(value: Any) -> Iterator[str]:
    """Every key and text, in the order in which they were written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, child in cast("dict[str, Any]", value).items():
            yield key
            yield from _words(child)
    elif isinstance(value, list):
        for child in cast("list[Any]", value):
            yield from _words(child)
