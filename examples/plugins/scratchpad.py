"""An output parser: what a model writes between `<scratchpad>` tags is thinking, and the rest is its answer.

For models that do not think by themselves and are told to, in their system message:

    [models."careful:7b"]
    path = "~/models/careful-7b.gguf"
    parser = "scratchpad"
    system = "First think step by step between <scratchpad> and </scratchpad>, then answer."

    [plugins.settings.scratchpad]
    open = "<scratchpad>"
    close = "</scratchpad>"
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from remuda import Output, OutputParser, ParserKind, ParserView, Text, Thinking, hookimpl
from remuda.hookspecs import ReadSettings, RegisterFactory

Tag = Annotated[str, Meta(min_length=1, max_length=100)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    open: Tag = "<scratchpad>"
    close: Tag = "</scratchpad>"


class Scratchpad(OutputParser):
    """One answer's parser. It holds back what may be the beginning of a tag; white space after a tag is dropped."""

    def __init__(self, settings: Settings) -> None:
        self._tags = {Text: settings.open, Thinking: settings.close}
        self._kind: type[Text | Thinking] = Text
        self._held = ""
        self._fresh = False
        """Nothing came after the last tag but white space."""

    def feed(self, text: str) -> list[Output]:
        text = self._held + text
        outputs: list[Output] = []
        while (tag := self._tags[self._kind]) in text:
            before, _, text = text.partition(tag)
            outputs += self._told(before)
            self._kind, self._fresh = Text if self._kind is Thinking else Thinking, True
        end = len(text) - _overlap(text, tag)
        self._held = text[end:]
        return outputs + self._told(text[:end])

    def finish(self) -> list[Output]:
        held, self._held = self._held, ""
        return self._told(held)

    def _told(self, text: str) -> list[Output]:
        text = text.lstrip() if self._fresh else text
        self._fresh = self._fresh and not text
        return [self._kind(text)] if text else []


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` begin `tag`."""
    lengths = range(min(len(text), len(tag) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(tag[:length])), 0)


class ScratchpadKind(ParserKind):
    stage = "thinking"
    settings = Settings()

    def __init__(self) -> None:
        self.visible = (self.settings.open, self.settings.close)

    def applies(self, view: ParserView) -> bool:
        """Only for models that name it: their `parser` is taken without being asked."""
        return False

    def open(self, view: ParserView) -> OutputParser:
        return Scratchpad(self.settings)

    def free(self, view: ParserView) -> tuple[str, str]:
        return self.settings.open, self.settings.close


@hookimpl
def remuda_configure(settings: ReadSettings) -> None:
    ScratchpadKind.settings = settings(Settings)


@hookimpl
def remuda_register_parsers(register: RegisterFactory) -> None:
    register("scratchpad", ScratchpadKind)
