"""Thinking before the answer, between tags (Ollama API, "Thinking and tool-call parsing")."""

from __future__ import annotations

from remuda.output import OutputParser, ParserKind, ParserView, Thinking

from .json_text import Malformed
from .stream import Steps, StreamParser

__all__ = ["FAMILIES", "ThinkingKind"]

FAMILIES = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "Here is my thought process:": "Here is my response:",
}
"""What published models write round their thinking."""


class ThinkingKind(ParserKind):
    """One stretch of thinking at the very beginning, opened by the model or already by the prompt.

    White space round the tags is dropped. An answer that does not begin with a tag is text to its last character.
    """

    stage = "thinking"
    visible = (*(tag for pair in FAMILIES.items() for tag in pair if " " not in tag), "<|channel>")

    def applies(self, view: ParserView) -> bool:
        return view.think and bool(_tags(view))

    def open(self, view: ParserView) -> OutputParser:
        tags = _tags(view)
        prompt = view.prompt.rstrip()
        return _Parser(tags, next((close for tag, close in tags.items() if prompt.endswith(tag)), ""))


class _Parser(StreamParser):
    def __init__(self, tags: dict[str, str], close: str) -> None:
        super().__init__()
        self._tags = tags
        self._close = close
        """What ends the thinking that the prompt has begun."""
        self._past_start = False

    def region(self) -> Steps[None]:
        if self._past_start:
            yield from self.find()
            return
        self._past_start = True
        close = self._close
        if not close:
            yield from self.space()
            tag = yield from self.take(*self._tags)
            if not tag:
                raise Malformed("no thinking")
            close = self._tags[tag]
        yield from self.space()
        self.drop()
        yield from self.find(close, told_as=Thinking)
        yield from self.space()


def _tags(view: ParserView) -> dict[str, str]:
    """The tags to look for: those that the template engine found, else the families that the template writes."""
    if view.think_open.strip() and view.think_close.strip():
        return {view.think_open.strip(): view.think_close.strip()}
    return {tag: close for tag, close in FAMILIES.items() if tag in view.template or close in view.template}
