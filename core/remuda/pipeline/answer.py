"""The text of an answer told apart: what is thinking, what is said, what is a call of a tool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from msgspec import structs

from ..errors import PluginError
from ..job import Event, ToolCalls
from ..output import Output, OutputParser, ParserKind, ParserView, Text, Thinking, ToolCall
from ..plugins import Plugins

__all__ = ["Answer", "choose_kinds", "tool_kind"]

_log = logging.getLogger("remuda.pipeline")
_FALLBACK = "json"
"""The kind whose calls any model can be made to write."""


def choose_kinds(plugins: Plugins, view: ParserView, named: str | None) -> list[ParserKind]:
    """The kinds that read an answer, in the order in which text passes through them: at most one for each stage.

    `named` is the kind that the model itself demands. Of the others those that fail are told and passed over.
    """
    found: dict[str, ParserKind] = {}
    if named:
        _take(found, plugins.parsers.get(named), lambda kind: True)
    for offer in reversed(plugins.parsers.offers()):
        if offer.name != named:
            try:
                _take(found, plugins.parsers.get(offer.name), lambda kind: _applies(kind, view))
            except Exception as error:
                text = f"the output parser {offer.name!r} failed: {type(error).__name__}: {error}"
                plugins.fault(offer.source, f"{text}\nFix: repair or uninstall the plugin")
    return list(dict.fromkeys(found[stage] for stage in ("thinking", "tools") if stage in found))


def tool_kind(plugins: Plugins, kinds: Iterable[ParserKind]) -> ParserKind:
    """The one of `kinds` that reads calls of tools, else the one that any model's calls can be written for."""
    found = next((kind for kind in kinds if kind.stage != "thinking"), None)
    return found or plugins.parsers.get(_FALLBACK)


class Answer:
    """One answer on its way through its parsers."""

    def __init__(self, kinds: Iterable[ParserKind], view: ParserView) -> None:
        self._parsers: list[OutputParser] = [kind.open(view) for kind in kinds]

    def feed(self, text: Text) -> list[Event]:
        """The events that `text` makes; its log probabilities go with the first, or with one without text."""
        events = _events(self._through(0, [text]))
        if not text.logprobs:
            return events
        if events and isinstance(events[0], (Text, Thinking)):
            return [structs.replace(events[0], logprobs=text.logprobs), *events[1:]]
        return [Text("", text.logprobs), *events]

    def finish(self) -> list[Event]:
        """What was held back."""
        outputs: list[Output] = []
        for at, parser in enumerate(self._parsers):
            outputs += self._through(at + 1, _told(parser, parser.finish))
        return _events(outputs)

    def _through(self, at: int, outputs: list[Output]) -> list[Output]:
        """`outputs` after the parsers from number `at` on: only text is parsed further."""
        for parser in self._parsers[at:]:
            outputs = [
                out
                for each in outputs
                for out in (_told(parser, parser.feed, each.text) if isinstance(each, Text) and each.text else [each])
            ]
        return outputs


def _told(parser: OutputParser, tell: Callable[..., list[Output]], *text: str) -> list[Output]:
    """What a parser says; it must not raise, but it may be somebody else's."""
    try:
        return tell(*text)
    except Exception as error:
        _log.exception("parser %s failed", type(parser).__name__)
        raise PluginError(f"the output parser {type(parser).__name__!r} failed: {type(error).__name__}") from error


def _events(outputs: Iterable[Output]) -> list[Event]:
    """Calls that came together are one event; pieces without text are none."""
    events: list[Event] = []
    for output in outputs:
        last = events[-1] if events else None
        if not isinstance(output, ToolCall):
            if output.text:
                events.append(output)
        elif isinstance(last, ToolCalls):
            last.calls.append(output)
        else:
            events.append(ToolCalls([output]))
    return events


def _take(found: dict[str, ParserKind], kind: ParserKind, wanted: Callable[[ParserKind], bool]) -> None:
    """Take the kind for its stages, if it is wanted and they are free."""
    stages = ("thinking", "tools") if kind.stage == "both" else (kind.stage,)
    if not any(stage in found for stage in stages) and wanted(kind):
        found |= dict.fromkeys(stages, kind)


def _applies(kind: ParserKind, view: ParserView) -> bool:
    return (kind.stage != "tools" or bool(view.tools)) and kind.applies(view)
