from __future__ import annotations

from typing import Any

import msgspec
import pytest

from remuda.errors import BadRequest
from remuda.pipeline.fields import parse_format, parse_logprobs, parse_think, parse_tool_choice, parse_tools
from remuda.wire.chat import Tool, ToolFunction, ToolParameters

TOOLS = (Tool(function=ToolFunction(name="look")), Tool(function=ToolFunction(name="jump")))
FORMATS = frozenset({"json", "json_schema"})


@pytest.mark.parametrize("value", [None, True, False, "low", "medium", "high", "max"])
def test_think_is_a_switch_or_a_level(value: Any) -> None:
    assert parse_think(value) is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", 'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)'),
        ("", 'invalid think value: "" (must be "high", "medium", "low", "max", true, or false)'),
        ("True", 'invalid think value: "True" (must be "high", "medium", "low", "max", true, or false)'),
        (1, 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        ([], 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        ({}, 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
    ],
)
def test_another_think_is_refused_in_the_words_of_the_protocol(value: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_think(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, None), ("", None), ("json", "json"), ({}, {}), ({"type": "object"}, {"type": "object"})],
)
def test_a_format_is_nothing_a_known_name_or_an_object(value: Any, found: Any) -> None:
    assert parse_format(value, FORMATS) == found


@pytest.mark.parametrize(
    ("value", "quoted"),
    [("xml", r'"\"xml\""'), (5, '"5"'), (True, '"true"'), ([1, "é"], r'"[1,\"é\"]"'), ("JSON", r'"\"JSON\""')],
)
def test_another_format_is_refused_with_what_was_sent(value: Any, quoted: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_format(value, FORMATS)
    assert str(caught.value) == f'invalid format: {quoted}; expected "json" or a valid JSON Schema object'


def test_a_long_format_is_not_echoed_whole() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_format("x" * 100_000, FORMATS)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("wanted", "top", "found"),
    [(None, None, None), (False, 20, None), (True, None, 0), (True, 0, 0), (True, 20, 20), (None, 3, None)],
)
def test_log_probabilities_are_told_only_where_they_are_wanted(
    wanted: bool | None, top: int | None, found: int | None
) -> None:
    assert parse_logprobs(wanted, top) == found


@pytest.mark.parametrize("wanted", [None, False, True])
@pytest.mark.parametrize("top", [-1, 21, 2**40])
def test_the_number_of_likeliest_tokens_is_bounded_even_if_none_are_wanted(wanted: bool | None, top: int) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_logprobs(wanted, top)
    assert str(caught.value) == "top_logprobs must be between 0 and 20"


@pytest.mark.parametrize(
    ("value", "tools", "demanded"),
    [
        (None, TOOLS, None),
        ("auto", TOOLS, None),
        ("none", (), None),
        ("required", TOOLS, ""),
        ("jump", TOOLS, "jump"),
        ({"type": "function", "function": {"name": "jump"}}, TOOLS, "jump"),
    ],
)
def test_a_choice_of_tools_leaves_forbids_or_demands_a_call(
    value: Any, tools: tuple[Tool, ...], demanded: str | None
) -> None:
    assert parse_tool_choice(value, TOOLS) == (tools, demanded)


@pytest.mark.parametrize(
    "value",
    ["fly", "", "Required", 3, [], {}, {"function": 5}, {"function": {"name": "none"}}, {"function": {"name": []}}],
)
def test_another_choice_is_refused_with_the_tools_there_are(value: Any) -> None:
    with pytest.raises(BadRequest, match=r'"required" or the name of a tool of this request \("look", "jump"\)'):
        parse_tool_choice(value, TOOLS)


def test_a_call_cannot_be_demanded_without_tools() -> None:
    with pytest.raises(BadRequest, match=r"\(none\)"):
        parse_tool_choice("required", ())
    assert parse_tool_choice("none", ()) == ((), None)


def test_null_in_a_tool_is_absent_and_unknown_keys_are_dropped() -> None:
    parameters = {"type": "object", "required": None, "$defs": None, "properties": None, "additionalProperties": False}
    function = {"name": "look", "description": None, "parameters": parameters, "strict": True}
    [tool] = parse_tools([{"type": None, "function": function}])
    assert tool == Tool(function=ToolFunction(name="look", parameters=ToolParameters(type="object")))
    schema = {"type": ["string", "null"], "enum": ["a", None], "minLength": 1, "items": None}
    [tool] = parse_tools([{"function": {"name": "look", "parameters": {"properties": {"x": schema}}}}])
    assert msgspec.to_builtins(tool.function.parameters) == {
        "properties": {"x": {"type": ["string", "null"], "enum": ["a", None]}}
    }
    assert parse_tools(None) == parse_tools([]) == ()


@pytest.mark.parametrize(
    "value",
    ["look", {}, ["look"], [{"function": "look"}], [{"function": {"name": 5}}], [{"function": {"parameters": []}}]],
)
def test_what_is_no_tool_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"^invalid request: tools: Expected"):
        parse_tools(value)


def test_tools_that_are_nested_without_end_are_refused() -> None:
    items: Any = 1
    for _ in range(5000):
        items = {"items": items}
    with pytest.raises(BadRequest, match="nested too deeply"):
        parse_tools([{"items": items}])
