"""The messages of gpt-oss: thinking, answer and calls each in a channel of its own."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from remuda.output import OutputParser, ParserKind, ParserView, Text, Thinking, ToolCall

from .force import ToolSchemas, json_literal, lark, quoted
from .json_text import Malformed
from .stream import NAME_LIMIT, Steps, StreamParser

__all__ = ["HarmonyKind", "harmony_names"]

_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_HEADER_LIMIT = 3 * NAME_LIMIT

_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_NAMESPACE = "functions."


class HarmonyKind(ParserKind):
    """`<|start|>assistant<|channel|>CHANNEL<|message|>text<|end|>`, where the prompt may have begun the message.

    Channel `analysis` is thinking, also when none was asked for: the model cannot be kept from it, and its headers
    are no text. A message `to=functions.NAME` is a call; the name is one of the request's tools if one matches, else
    believed as it is. All other messages are the answer.
    """

    stage = "both"
    visible = (_START, _CHANNEL, _MESSAGE, *_ENDS, "<|constrain|>")

    def applies(self, view: ParserView) -> bool:
        return _CHANNEL in view.template and _MESSAGE in view.template

    def open(self, view: ParserView) -> OutputParser:
        begun = view.prompt[max(view.prompt.rfind(_START), 0) :].rstrip()
        is_header = begun.startswith(_START) and begun.find(_MESSAGE) in (-1, len(begun) - len(_MESSAGE))
        return _Parser(harmony_names(view), begun if is_header and not any(end in begun for end in _ENDS) else "")

    def free(self, view: ParserView) -> tuple[str, str]:
        """Everything before the message of channel `final`."""
        return _CHANNEL, f"final{_MESSAGE}"

    def forced(self, view: ParserView, name: str | None) -> Any:
        originals = harmony_names(view)
        schemas = ToolSchemas(view, name).arguments()
        calls = [
            f"{quoted(f'{safe} <|constrain|>json{_MESSAGE}')} {json_literal(schemas[original])}"
            for safe, original in originals.items()
            if original in schemas
        ]
        return lark(f'start: "{_CHANNEL}commentary to={_NAMESPACE}" ({" | ".join(calls)})') if calls else None


def harmony_names(view: ParserView) -> dict[str, str]:
    """The names of the request's tools by the names that the model can write: identifiers, no two alike.

    A name that is one already stands for itself.
    """
    originals = dict.fromkeys(tool.function.name for tool in view.tools)
    names = {name: name for name in originals if _identifier(name) == name}
    taken = Counter(names.keys())
    for original in originals:
        safe = _identifier(original)
        if safe == original:
            continue
        unique = safe
        while unique in names:
            taken[safe] += 1
            unique = f"{safe}_{taken[safe]}"
        names[unique] = original
    return names


def _identifier(name: str) -> str:
    kept = re.sub(r"[^\w$]", "", re.sub(r"[-. ]", "_", name)) or "unnamed"
    return f"_{kept}" if kept[0].isdigit() else kept


class _Parser(StreamParser):
    def __init__(self, names: dict[str, str], begun: str) -> None:
        super().__init__()
        self._names = names
        self._known = frozenset(names.values())
        self._begun = begun
        """The header of the first message as far as the prompt has it."""

    def region(self) -> Steps[None]:
        header, self._begun = self._begun, ""
        if header and _CHANNEL not in header and not header.endswith(_MESSAGE):
            more = yield from self.take(_CHANNEL, _MESSAGE, " to=")
            # Text that does not go on with the header is an answer without one.
            header = header + more if more else ""
        if not header:
            header = yield from self.find(_START, _CHANNEL, *_ENDS)
        while header and header not in _ENDS:
            if not header.endswith(_MESSAGE):
                header += yield from self.up_to(_MESSAGE, *_ENDS, "\n", limit=_HEADER_LIMIT)
                if not (yield from self.take(_MESSAGE)):
                    raise Malformed("a header without a message")
            header = yield from self._body(header)

    def _body(self, header: str) -> Steps[str]:
        """Tell a message. The mark behind it: its end, or the beginning of the next."""
        recipient = _RECIPIENT.search(header)
        told_as = Text
        if recipient:
            arguments = yield from self.object()
            self.call(ToolCall(name=self._name(recipient[1]), arguments=arguments))
            yield from self.space()
        else:
            channel = _CHANNEL_NAME.search(header)
            told_as = Thinking if channel and channel[1] == "analysis" else Text
        self.drop()
        mark = yield from self.find(_START, _CHANNEL, *_ENDS, told_as=told_as)
        return mark

    def _name(self, recipient: str) -> str:
        name = recipient.removeprefix(_NAMESPACE)
        return name if name in self._known else self._names.get(name, name)
