from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory
from remuda.job import ToolCalls
from remuda.output import Output, OutputParser, ParserKind, ParserView, Text, Thinking, TokenLogprob, ToolCall
from remuda.pipeline.answer import Answer, choose_kinds, tool_kind
from remuda.plugins import Plugins
from remuda.wire.chat import Tool

VIEW = ParserView(template="")
TOOLS = ParserView(template="", tools=(Tool(),))


class _Marks(OutputParser):
    """Letters in capitals are what `make` makes of them; a dot is held back until the next letter or the end."""

    def __init__(self, make: Callable[[str], Output], mark: str) -> None:
        self._make, self._mark, self._held = make, mark, ""

    def feed(self, text: str) -> list[Output]:
        found: list[Output] = []
        for letter in text:
            if letter == ".":
                self._held += letter
                continue
            if self._held:
                found.append(Text(self._held))
                self._held = ""
            found.append(self._make(letter) if letter == self._mark else Text(letter))
        return found

    def finish(self) -> list[Output]:
        return [Text(self._held)] if self._held else []


class _Kind(ParserKind):
    def __init__(self, stage: Literal["thinking", "tools", "both"], applies: bool | type[Exception] = True) -> None:
        self.stage, self._applies = stage, applies

    def applies(self, view: ParserView) -> bool:
        if isinstance(self._applies, bool):
            return self._applies
        raise self._applies("no")

    def open(self, view: ParserView) -> OutputParser:
        if self.stage == "thinking":
            return _Marks(Thinking, "T")
        return _Marks(lambda letter: ToolCall(name=letter, arguments={}), "C")


def _plugins(**kinds: ParserKind) -> Plugins:
    """Registered in this order."""

    class Some:
        @hookimpl
        def remuda_register_parsers(self, register: RegisterFactory) -> None:
            for name, kind in kinds.items():
                register(name, lambda kind=kind: kind)

    plugins = Plugins()
    plugins.add(Some(), "some")
    return plugins


def test_the_kind_registered_last_is_the_one_for_its_stage() -> None:
    first, second, tools = _Kind("thinking"), _Kind("thinking"), _Kind("tools")
    plugins = _plugins(first=first, tools=tools, second=second)
    assert choose_kinds(plugins, TOOLS, None) == [second, tools]


def test_a_kind_for_tools_is_not_asked_when_there_are_none() -> None:
    plugins = _plugins(tools=_Kind("tools", applies=RuntimeError), thinking=_Kind("thinking"))
    assert [kind.stage for kind in choose_kinds(plugins, VIEW, None)] == ["thinking"]


def test_one_kind_may_take_both_stages() -> None:
    both = _Kind("both")
    assert choose_kinds(_plugins(tools=_Kind("tools"), thinking=_Kind("thinking"), both=both), TOOLS, None) == [both]
    thinking = _Kind("thinking")
    assert choose_kinds(_plugins(both=_Kind("both"), thinking=thinking), TOOLS, None) == [thinking]


def test_the_kind_that_the_model_names_is_taken_unasked() -> None:
    named = _Kind("both", applies=False)
    assert choose_kinds(_plugins(named=named, tools=_Kind("tools")), TOOLS, "named") == [named]


def test_a_kind_that_fails_is_named_and_passed_over() -> None:
    good = _Kind("thinking")
    plugins = _plugins(good=good, bad=_Kind("thinking", applies=RuntimeError))
    assert choose_kinds(plugins, VIEW, None) == [good]
    [fault] = [plugin.fault for plugin in plugins.describe() if plugin.fault]
    assert "the output parser 'bad' failed: RuntimeError" in fault


def test_any_model_can_be_made_to_call() -> None:
    fallback, own = _Kind("tools", applies=False), _Kind("tools")
    plugins = _plugins(json=fallback, own=own)
    assert tool_kind(plugins, [_Kind("thinking"), own]) is own
    assert tool_kind(plugins, [_Kind("thinking")]) is fallback


def _answer(*stages: Any) -> Answer:
    return Answer([_Kind(stage) for stage in stages], TOOLS)


def test_without_parsers_text_is_the_answer() -> None:
    answer = _answer()
    assert answer.feed(Text("TC.")) == [Text("TC.")]
    assert answer.feed(Text("")) == []
    assert answer.finish() == []


def test_only_what_the_first_parser_calls_text_reaches_the_second() -> None:
    answer = _answer("thinking", "tools")
    assert answer.feed(Text("TaC")) == [Thinking("T"), Text("a"), ToolCalls([ToolCall(name="C", arguments={})])]


def test_calls_that_come_together_are_one_event() -> None:
    [calls, text] = _answer("tools").feed(Text("CCa"))
    assert isinstance(calls, ToolCalls)
    assert [call.name for call in calls.calls] == ["C", "C"]
    assert text == Text("a")


def test_what_every_parser_held_back_comes_at_the_end_in_order() -> None:
    answer = _answer("thinking", "tools")
    assert answer.feed(Text("a.")) == [Text("a")]
    assert answer.finish() == [Text(".")]


LOGPROB = TokenLogprob(b"x", -0.5)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("ab", [Text("a", [LOGPROB]), Text("b")]),
        ("Ta", [Thinking("T", [LOGPROB]), Text("a")]),
        (".", [Text("", [LOGPROB])]),
        ("", [Text("", [LOGPROB])]),
        ("C", [Text("", [LOGPROB]), ToolCalls([ToolCall(name="C", arguments={})])]),
    ],
)
def test_log_probabilities_are_never_lost(text: str, events: list[Any]) -> None:
    assert _answer("thinking", "tools").feed(Text(text, [LOGPROB])) == events
