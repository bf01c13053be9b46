"""Schemas and grammars that force a call: what they allow, each kind reads back as a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from remuda.output import ParserKind, ParserView
from remuda.wire.chat import Tool
from remuda_plugins.formats.compiled import GrammarFormat, SchemaFormat
from remuda_plugins.parsers.force import arguments_schema

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]
MakeTools = Callable[..., tuple[Tool, ...]]

BYTES = LLTokenizer("byte")
VIEWS: list[tuple[str, dict[str, Any]]] = [
    ("json", {}),
    ("json", {"tool_tag": "["}),
    ("json", {"tool_tag": "<TOOLCALL>["}),
    ("hermes", {}),
    ("hermes", {"template": "<tool_call>\n<function="}),
    ("llama3", {}),
    ("mistral", {}),
    ("mistral", {"template": "[TOOL_CALLS] [ARGS]"}),
    ("command-r", {}),
    ("command-r", {"template": "<|START_ACTION|>"}),
    ("granite", {}),
    ("granite", {"template": "<tool_call>"}),
    ("deepseek", {}),
    ("deepseek", {"template": "```json"}),
    ("harmony", {"prompt": "<|start|>assistant"}),
]
NESTED_TOO_DEEP: dict[str, Any] = {}
for _ in range(200):
    NESTED_TOO_DEEP = {"type": "array", "items": NESTED_TOO_DEEP}


def _matcher(forced: dict[str, Any]) -> LLMatcher:
    if forced.get("type") == "lark":
        grammar = LLMatcher.grammar_from_lark(forced["grammar"])
    else:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(forced))
    matcher = LLMatcher(BYTES, grammar)
    assert not matcher.get_error()
    return matcher


def _shortest(matcher: LLMatcher) -> str:
    """A text that the grammar allows: what closes something is taken before what goes on."""
    text = bytearray()
    while not matcher.is_stopped():
        assert len(text) < 2000
        forced = matcher.compute_ff_bytes()
        if forced:
            assert matcher.consume_tokens(BYTES.tokenize_bytes(forced))
            text += forced
            continue
        allowed = matcher.compute_logit_bias()
        if allowed[BYTES.eos_token]:
            break
        closing = b"</parameter>"
        if not text.endswith(closing) and matcher.validate_tokens(list(closing)) == len(closing):
            assert matcher.consume_tokens(list(closing))
            text += closing
            continue
        byte = next(byte for byte in b'"}]0ntf{[,:' + bytes(range(33, 127)) + b" \n" if allowed[byte])
        assert matcher.consume_token(byte)
        text.append(byte)
    assert matcher.is_accepting()
    return text.decode()


def _call(kind: ParserKind, view: ParserView, name: str | None) -> Any:
    output = _shortest(_matcher(kind.forced(view, name)))
    parser = kind.open(view)
    told = [*parser.feed(output), *parser.finish()]
    assert len(told) == 1, told
    return told[0]


@pytest.mark.parametrize(("kind", "fields"), VIEWS)
def test_a_shortest_forced_call_is_read_back(
    kinds: Kinds, make_view: MakeView, kind: str, fields: dict[str, Any]
) -> None:
    view = make_view(**fields)
    for tool in view.tools:
        told = _call(kinds[kind], view, tool.function.name)
        assert told.name == tool.function.name
        jsonschema.validate(told.arguments, arguments_schema(tool))
    assert _call(kinds[kind], view, None).name in {tool.function.name for tool in view.tools}


@pytest.mark.parametrize(("kind", "fields"), VIEWS)
def test_any_tool_can_be_called_unless_one_is_named(
    kinds: Kinds, make_view: MakeView, kind: str, fields: dict[str, Any]
) -> None:
    view = make_view(**fields)
    one = _shortest(_matcher(kinds[kind].forced(view, "get_time"))).encode()
    any_tool = _matcher(kinds[kind].forced(view, None))
    assert any_tool.validate_tokens(list(one)) == len(one)
    other = _matcher(kinds[kind].forced(view, "get_weather"))
    assert other.validate_tokens(list(one)) < len(one)


@pytest.mark.parametrize(("kind", "fields"), VIEWS)
def test_a_tool_that_is_not_there_cannot_be_forced(
    kinds: Kinds, make_view: MakeView, kind: str, fields: dict[str, Any]
) -> None:
    assert kinds[kind].forced(make_view(**fields), "missing") is None
    assert kinds[kind].forced(make_view(**fields, tools=()), None) is None


def test_thinking_cannot_be_forced_to_call(kinds: Kinds, make_view: MakeView) -> None:
    assert kinds["thinking"].forced(make_view(think=True, template="<think>"), None) is None


def test_the_schema_of_one_tool_and_of_several(kinds: Kinds, make_view: MakeView) -> None:
    assert kinds["json"].forced(make_view(), "get_time") == {
        "type": "object",
        "properties": {
            "name": {"const": "get_time"},
            "arguments": {"type": "object", "properties": {}, "additionalProperties": False},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    several = kinds["json"].forced(make_view(), None)
    assert [branch["properties"]["name"]["const"] for branch in several["anyOf"]] == ["get_weather", "get_time", "get"]


HOSTILE: list[dict[str, Any]] = [
    {},
    {"type": "string", "required": ["missing"]},
    {"required": ["a"], "properties": {"a": {"type": "any"}, "b": {"type": ["string", "float"]}}},
    {"required": ["a"], "properties": {"a": {"enum": []}, "b": {"anyOf": []}, "c": {"type": "integer", "enum": ["x"]}}},
    {"required": ["a"], "properties": {"a": {"type": "integer", "enum": ["x", {"y": 1}]}}},
    {"required": ["a"], "properties": {"a": {"type": "array", "items": {"enum": [2**80, 1e300, True]}}}},
    {"required": ["a"], "properties": {"a": {"items": {"type": "string", "pattern": "((", "minLength": 10**12}}}},
    {"required": ["a"], "properties": {"a": {"items": NESTED_TOO_DEEP}}},
    {"required": ["a"], "properties": {"a": {"items": {"$ref": "https://example.org/x"}}}, "$defs": [1]},
    {"required": ["a"], "properties": {"a": {"items": {"$ref": "#/$defs/A"}}}, "$defs": {"A": {"$ref": "#/$defs/A"}}},
    {
        "required": ["a"],
        "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"const": "x"}]}, "B b": 3},
    },
    {"required": ["a"], "properties": {"a": {"type": ["object", "null"], "properties": {"q": {"type": "integer"}}}}},
    {"required": ['é"\n', ""], "properties": {'é"\n': {"type": "boolean"}, "": {"type": "null"}}},
    {"items": 3, "$defs": "x"},
]


@pytest.mark.parametrize("parameters", HOSTILE)
def test_whatever_a_tool_says_of_its_parameters_it_can_be_forced(
    kinds: Kinds, make_view: MakeView, make_tools: MakeTools, parameters: dict[str, Any]
) -> None:
    tools = make_tools([{"name": "f", "parameters": parameters}, {"name": "g"}])
    jsonschema.Draft202012Validator.check_schema(arguments_schema(tools[0]))
    for kind, fields in VIEWS:
        assert _call(kinds[kind], make_view(**fields, tools=tools), "f").name == "f"
        assert _call(kinds[kind], make_view(**fields, tools=tools), None).name in ("f", "g")


@pytest.mark.anyio
async def test_the_formats_that_come_with_remuda_honour_whatever_is_forced(
    kinds: Kinds, make_view: MakeView, make_tools: MakeTools
) -> None:
    schemas, grammars = SchemaFormat(), GrammarFormat()
    try:
        for parameters in HOSTILE:
            tools = make_tools([{"name": "f", "parameters": parameters}, {"name": "g"}])
            for kind in ("json", "hermes", "llama3"):
                forced = kinds[kind].forced(make_view(tools=tools), None)
                constraint = grammars.constraint if forced.get("type") == "lark" else schemas.constraint
                assert (await constraint(forced, timeout=30)).grammar
    finally:
        await schemas.close()
        await grammars.close()


def test_what_a_schema_says_is_kept_where_it_can_be(make_tools: MakeTools) -> None:
    parameters = {
        "type": "object",
        "required": ["a", "c"],
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "properties": {
            "a": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "dropped"},
            "c": {"type": "string", "enum": ["u", "v"]},
        },
    }
    (tool,) = make_tools([{"name": "f", "parameters": parameters}])
    assert arguments_schema(tool, "t_") == {
        "type": "object",
        "properties": {
            "a": {"items": {"$ref": "#/$defs/t_Point"}, "type": "array"},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "c": {"enum": ["u", "v"]},
        },
        "required": ["a", "c"],
        "additionalProperties": False,
        "$defs": {
            "t_Point": {
                "type": "object",
                "properties": {"x": {"type": "number"}},
                "required": ["x"],
                "additionalProperties": False,
            }
        },
    }


def test_names_that_would_be_taken_for_marks_are_forced_only_where_they_stand_in_quotes(
    kinds: Kinds, make_view: MakeView, make_tools: MakeTools
) -> None:
    name = 'a"b]\n<|message|>é'
    tools = make_tools([{"name": name}])
    for kind, fields in VIEWS:
        view = make_view(**fields, tools=tools)
        if kind == "deepseek" or "[ARGS]" in view.template or "<function=" in view.template:
            assert kinds[kind].forced(view, name) is None
        else:
            assert _call(kinds[kind], view, name).name == name


def test_forced_text_of_the_xml_form_may_hold_anything(kinds: Kinds, make_view: MakeView) -> None:
    view = make_view(template="<function=")
    output = (
        '<tool_call>\n<function=get>\n<parameter=url>\nlines\n"of" </text> é\n</parameter>\n</function>\n</tool_call>'
    )
    matcher = _matcher(kinds["hermes"].forced(view, "get"))
    encoded = list(output.encode())
    assert matcher.validate_tokens(encoded) == len(encoded)
    parser = kinds["hermes"].open(view)
    assert [call.arguments for call in parser.feed(output)] == [{"url": 'lines\n"of" </text> é'}]
