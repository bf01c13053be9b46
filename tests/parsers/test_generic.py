"""Calls as plain JSON (Ollama API, "Thinking and tool-call parsing")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from remuda.output import ParserKind, ParserView, ToolCall

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]
Read = Callable[..., list[Any]]


def call(name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


PARIS = call("get_weather", city="Paris")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"name": "get_weather", "arguments": {"city": "Paris"}}', [PARIS]),
        ('{"name": "get_weather", "parameters": {"city": "Paris"}}', [PARIS]),
        ('{"parameters": "{\\"city\\": \\"Paris\\"}", "name": "get_weather"}', [PARIS]),
        ('{"get_weather": {"city": "Paris"}}', [PARIS]),
        ('{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}', [PARIS]),
        ('{"tool_calls": [{"x": 1}, {"get_weather": "{\\"city\\": \\"Paris\\"}"}]}', [PARIS]),
        ('{"tool": "get_weather", "city": "Paris"}', [call("get_weather", tool="get_weather", city="Paris")]),
        ('{"name": "get_weather", "city": "Paris"}', [PARIS]),
        ('{"name": "get_time"}', [call("get_time")]),
        ('{"name": "get_time", "arguments": null}', [call("get_time")]),
        # of `get` and `get_time` the name that is written
        ('{"name": "get", "arguments": {"url": "get_time"}}', [call("get", url="get_time")]),
        (' \n{"name": "get_time"} {"name": "get_time"},\n{"name": "get_time"}', [" \n", *[call("get_time")] * 3]),
        (
            '{"name": "get_time"}\n\nThat was it, {"name": "get_time"}',
            [call("get_time"), 'That was it, {"name": "get_time"}'],
        ),
        ('{"name": "get_time"}, please', [call("get_time"), ", please"]),
        ('{"name": "get_time"} get_time is', [call("get_time"), "get_time is"]),
        # no calls
        ('{"name": "get_times", "arguments": {}}', ['{"name": "get_times", "arguments": {}}']),
        ('{"name": "f", "arguments": {"q": "get_time"}}', ['{"name": "f", "arguments": {"q": "get_time"}}']),
        ('{"a": [{"name": "f", "arguments": ["get"]}]}', ['{"a": [{"name": "f", "arguments": ["get"]}]}']),
        ('{"name": "get_time", "arguments": "now"}', ['{"name": "get_time", "arguments": "now"}']),
        ('{"answer": 42}', ['{"answer": 42}']),
        ('{"name": "get_time"', ['{"name": "get_time"']),
        ("{not JSON} get_time", ["{not JSON} get_time"]),
        ('Look: {"name": "get_time"}', ['Look: {"name": "get_time"}']),
        ('[{"name": "get_time"}]', ['[{"name": "get_time"}]']),
        ("", []),
    ],
)
def test_without_a_tag_an_answer_that_begins_with_a_brace_is_looked_at(
    kinds: Kinds, make_view: MakeView, read: Read, output: str, expected: list[Any]
) -> None:
    for tag in ("", "{"):
        for pieces in ([output], list(output)):
            assert read(kinds["json"].open(make_view(tool_tag=tag)), pieces) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            '[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "get_time"}]\n.',
            [PARIS, call("get_time"), "."],
        ),
        ('[{"name": "get_time"}, {"name": "f"}]', [call("get_time"), ', {"name": "f"}]']),
        ("[1] is a footnote", ["[1] is a footnote"]),
        ('{"name": "get_time"}', ['{"name": "get_time"}']),
        ("a [", ["a ["]),
    ],
)
def test_with_a_square_bracket_for_a_tag_an_answer_that_begins_with_it_is_looked_at(
    kinds: Kinds, make_view: MakeView, read: Read, output: str, expected: list[Any]
) -> None:
    for pieces in ([output], list(output)):
        assert read(kinds["json"].open(make_view(tool_tag="[")), pieces) == expected


@pytest.mark.parametrize(
    ("tag", "output", "expected"),
    [
        ("<call>", 'Hm.\n<call>{"name": "get_time"}</call>\nSo.', ["Hm.\n", call("get_time"), "So."]),
        ("<call>", '<call>[{"name": "get_time"}, {"name": "get_time"}]</call>', [call("get_time")] * 2),
        ("<call>", '<call>get_weather\n{"city": "Paris"}', [PARIS]),
        ("<call>", '<call>functions.get_weather: {"city": "Paris"} get_time{}x', [PARIS, call("get_time"), "x"]),
        ("<call>", '<call>get_time {"name": "x", "arguments": {}}', [call("get_time", name="x", arguments={})]),
        ("<call>", '{"name": "get_time"} <call>', ['{"name": "get_time"} <call>']),
        ("<call>", '<call> no <call>{"get_time": {}}', ["<call> no ", call("get_time")]),
        ("<call>", '<call>I use get_time: {"a": 1} so', ["I use get_time: ", call("get_time", a=1), "so"]),
        ("<call>", '<call>I use {"a": 1}', ['<call>I use {"a": 1}']),
        ("<call>", '<call>\n```json\n{"name": "get_time"}\n```\n</call>x', [call("get_time"), "x"]),
        ("<call>", '<call>{"a": 1}</call><call>{"name": "get_time"}', ['<call>{"a": 1}</call>', call("get_time")]),
        ("[CALLS] [", '[CALLS] [{"name": "get_time"}] [/CALLS] x', [call("get_time"), "x"]),
        ("<call>\n", "<call>get_time", ["<call>get_time"]),
    ],
)
def test_behind_a_tag_calls_are_read_wherever_it_stands(
    kinds: Kinds, make_view: MakeView, read: Read, tag: str, output: str, expected: list[Any]
) -> None:
    for pieces in ([output], list(output)):
        assert read(kinds["json"].open(make_view(tool_tag=tag)), pieces) == expected


def test_it_takes_whatever_has_tools(kinds: Kinds, make_view: MakeView) -> None:
    assert kinds["json"].applies(make_view())
    assert not kinds["json"].applies(make_view(tools=()))
