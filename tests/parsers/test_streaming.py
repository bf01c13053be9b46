"""How answers stream: what is held back and how long, and that pieces never matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from remuda.output import ParserKind, ParserView, ToolCall

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]
Read = Callable[..., list[Any]]

XML = "<tool_call>\n<function=NAME>\n<parameter=KEY>\n</tool_call>"
AT_TURN: dict[str, Any] = {"template": "<|channel|><|message|>", "prompt": "<|start|>assistant"}


def call(name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


TIME = call("get_time")


@pytest.mark.parametrize(
    ("kind", "fields", "text", "held"),
    [
        ("hermes", {}, "a < b <tool", "<tool"),
        ("hermes", {"template": XML}, "<tool_cat> <function", "<function"),
        ("llama3", {}, " Sure: { <|python", "<|python"),
        ("mistral", {}, "a[0] [TOOL_[TOOL", "[TOOL"),
        ("command-r", {}, "Actions <|START_ Act", "Act"),
        ("granite", {}, "<<|tool_", "<|tool_"),
        ("deepseek", {}, "<｜tool▁<｜tool▁", "<｜tool▁"),
        ("harmony", AT_TURN, "x <|starter <|chan", "<|chan"),
        ("json", {}, "It is {", ""),
        ("json", {}, " \n", ""),
        ("json", {"tool_tag": "<call>"}, "a {b} <can <cal", "<cal"),
        ("json", {"tool_tag": "["}, "a [", ""),
    ],
)
def test_text_that_cannot_be_a_tag_leaves_at_once(
    kinds: Kinds, make_view: MakeView, kind: str, fields: dict[str, Any], text: str, held: str
) -> None:
    tags = [*kinds[kind].visible, held, "Action:", "<call>", "<function="]
    parser = kinds[kind].open(make_view(**fields))
    told = ""
    for place, char in enumerate(text, 1):
        told += "".join(output.text for output in parser.feed(char))
        assert any(tag.startswith(text[len(told) : place]) for tag in tags)
    assert told + held == text
    assert [output.text for output in parser.finish()] == ([held] if held else [])


def test_what_cannot_become_a_call_any_more_is_told_as_soon_as_that_is_known(kinds: Kinds, make_view: MakeView) -> None:
    for kind, begun, culprit in [
        ("hermes", '<tool_call>{"name": "f", ', "x"),
        ("hermes", "<tool_call>", "g"),
        ("llama3", "{", "{"),
        ("llama3", '{"a"', "}"),
        ("json", '{"name": [1, 2', "}"),
        ("mistral", "[TOOL_CALLS] [", "1"),
        ("granite", "<|tool_call|>", "T"),
        ("command-r", "Action: ", "w"),
    ]:
        parser = kinds[kind].open(make_view())
        assert parser.feed(begun) == []
        assert [output.text for output in parser.feed(f"{culprit} ")] == [f"{begun}{culprit} "]


def test_a_call_is_told_with_its_last_brace(kinds: Kinds, make_view: MakeView) -> None:
    for kind, output in [
        ("hermes", '<tool_call>\n{"name": "get_time", "arguments": {}}'),
        ("llama3", '{"name": "get_time", "parameters": {}}'),
        ("mistral", '[TOOL_CALLS] [{"name": "get_time", "arguments": {}}'),
        ("mistral", "[TOOL_CALLS]get_time[ARGS]{}"),
        ("command-r", 'Action: ```json\n[{"tool_name": "get_time", "parameters": {}}'),
        ("granite", '<|tool_call|>[{"name": "get_time", "arguments": {}}'),
        ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{}"),
        ("harmony", "<|channel|>commentary to=functions.get_time<|message|>{}"),
        ("json", '{"name": "get_time", "arguments": {}}'),
    ]:
        parser = kinds[kind].open(make_view())
        assert parser.feed(output[:-1]) == []
        assert parser.feed(output[-1]) == [TIME]


def test_calls_of_tools_that_the_request_does_not_have_are_told_where_tags_say_that_they_are_calls(
    kinds: Kinds, make_view: MakeView, read: Read
) -> None:
    told = read(kinds["hermes"].open(make_view()), ['<tool_call>{"name": "other", "arguments": {"a": 1}}</tool_call>'])
    assert told == [call("other", a=1)]


def test_arguments_keep_their_order_and_the_kind_of_their_numbers(
    kinds: Kinds, make_view: MakeView, read: Read
) -> None:
    output = '<tool_call>{"name": "f", "arguments": {"z": 1, "a": 1.0, "m": 12345678901234567890, "b": -0.5e-3}}'
    arguments = read(kinds["hermes"].open(make_view()), [output])[0].arguments
    assert list(arguments) == ["z", "a", "m", "b"]
    assert [type(value) for value in arguments.values()] == [int, float, int, float]
    assert arguments["m"] == 12345678901234567890


def test_harmony_names_are_mapped_back(
    kinds: Kinds, make_view: MakeView, make_tools: Callable[..., Any], read: Read
) -> None:
    names = ("web-search", "web search", "2nd", "web_search", "日本", "web_search_2", "!")
    view = make_view(**AT_TURN, tools=make_tools({"name": name} for name in names))
    for written, meant in {
        "web_search": "web_search",
        "web_search_2": "web_search_2",
        "web_search_3": "web-search",
        "web_search_4": "web search",
        "_2nd": "2nd",
        "日本": "日本",
        "unnamed": "!",
        "web-search": "web-search",
        "unheard": "unheard",
    }.items():
        output = f"<|channel|>commentary to=functions.{written} <|constrain|>json<|message|>{{}}<|call|>"
        assert read(kinds["harmony"].open(view), [output]) == [call(meant)]


_FRAGMENTS = [
    *'{}[]"\\:,; \n<>a1=()`',
    '{"name": "get_time"',
    '"arguments": {}',
    '"get_time": {"a": [1]}',
    "get_time",
    "true",
    "<tool_call>",
    "</tool_call>",
    "<|tool_call|>",
    "<function=",
    "<parameter=",
    "</parameter>",
    "</function>",
    "<|python_tag|>",
    "get_time.call(",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "Action:",
    "```json",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<|start|>",
    "<|channel|>",
    "analysis",
    " to=functions.f",
    "<|message|>",
    "<|end|>",
    "<think>",
    "</think>",
    "\ud800",
]
_VIEWS: list[tuple[str, dict[str, Any]]] = [
    ("hermes", {"template": XML}),
    ("llama3", {}),
    ("mistral", {}),
    ("command-r", {}),
    ("granite", {}),
    ("deepseek", {}),
    ("harmony", AT_TURN),
    ("json", {}),
    ("json", {"tool_tag": "<tool_call>"}),
    ("json", {"tool_tag": "["}),
    ("thinking", {"template": "<think>", "think": True}),
]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(_VIEWS), st.lists(st.sampled_from(_FRAGMENTS), max_size=25), st.integers(1, 7))
def test_any_text_reads_the_same_in_any_pieces_and_raises_nothing(
    kinds: Kinds, make_view: MakeView, read: Read, view: tuple[str, dict[str, Any]], text: list[str], size: int
) -> None:
    kind, fields = view
    whole = "".join(text)
    told = read(kinds[kind].open(make_view(**fields)), [whole])
    for pieces in (text, [whole[at : at + size] for at in range(0, len(whole), size)]):
        assert read(kinds[kind].open(make_view(**fields)), pieces) == told
    if kind not in ("harmony", "thinking") and not any(isinstance(part, ToolCall) for part in told):
        assert "".join(told) == whole
