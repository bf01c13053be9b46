"""Go templates as Ollama renders them (Ollama API, sections 8.1 and 8.2)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from remuda_plugins.templates.go.errors import TemplateError
from remuda_plugins.templates.go.ollama import compiled, render

CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "u1"},
    {"role": "assistant", "content": "a1"},
    {"role": "user", "content": "u2"},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "<does> & says",
        "parameters": {
            "type": "object",
            "$defs": {"b": 1, "a": {"z": None}},
            "required": ["x"],
            "properties": {
                "y": {"type": ["string", "null"], "enum": ["b", 1, 2.5, 10000000]},
                "x": {"type": "integer", "description": "an x"},
                "n": {"type": "object", "properties": {"q": {"type": "boolean"}}, "required": ["q"]},
                "u": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
            },
        },
    },
}
PROPERTIES = (
    '{"n":{"type":"object","properties":{"q":{"type":"boolean"}},"required":["q"]},'
    '"u":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"number"}}]},'
    '"x":{"type":"integer","description":"an x"},'
    '"y":{"type":["string","null"],"enum":["b",1,2.5,10000000]}}'
)
PARAMETERS = '{"type":"object","$defs":{"a":{"z":null},"b":1},"required":["x"],"properties":' + PROPERTIES + "}"
FUNCTION = '{"name":"f","description":"\\u003cdoes\\u003e \\u0026 says","parameters":' + PARAMETERS + "}"
TOOL_JSON = '{"type":"function","function":' + FUNCTION + "}"

CALL = {
    "id": "call_1",
    "function": {
        "index": 2,
        "name": "f",
        "arguments": {"z": 1000000, "a": [1.5, 1e21, 1e-7, True, None], "s": "<\u2028é>"},
    },
}
ARGUMENTS = '{"a":[1.5,1e+21,1e-7,true,null],"s":"\\u003c\\u2028é\\u003e","z":1000000}'


def of(messages: list[dict[str, Any]], template: str, **more: Any) -> str:
    return render(template, {"messages": messages, **more})


def each(message: dict[str, Any], template: str) -> str:
    """The template for one message."""
    return of([message], "{{ range .Messages }}" + template + "{{ end }}")


def tool(template: str) -> str:
    """The template for one tool."""
    return of([], "{{ range .Tools }}" + template + "{{ end }}{{ if .Messages }}{{ end }}", tools=[TOOL])


LEGACY = (
    "{{ if .System }}<s>{{ .System }}</s>{{ end }}{{ if .Prompt }}<u>{{ .Prompt }}</u>{{ end }}<a>{{ .Response }}</a>"
)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (CHAT, "<s>S</s><u>u1</u><a>a1</a><u>u2</u><a>"),
        (CHAT[:3], "<s>S</s><u>u1</u><a>a1"),
        (CHAT[:1], "<s>S</s><a>"),
        ([], "<a>"),
        ([CHAT[1], CHAT[0]], "<u>u1</u><a></a><s>S</s><a>"),
        ([CHAT[2], CHAT[0], CHAT[1]], "<a>a1</a><s>S</s><u>u1</u><a>"),
        ([CHAT[1], {"role": "tool", "content": "t"}, CHAT[2]], "<u>u1</u><a>a1"),
        ([CHAT[1], CHAT[3]], "<u>u1\n\nu2</u><a>"),
        ([CHAT[2], CHAT[2]], "<a>a1\n\na1"),
        ([CHAT[0], CHAT[0], CHAT[1]], "<s>S\n\nS</s><u>u1</u><a>"),
    ],
)
def test_a_legacy_template_is_rendered_for_each_exchange(messages: list[dict[str, Any]], expected: str) -> None:
    assert of(messages, LEGACY) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ .Prompt }}", "u1a1u2"),
        ("{{ .Prompt }} ", "u1 a1u2 "),
        ("{{ if .System }}{{ .System }}{{ end }}.", "S.a1."),
        ("[{{ .Response | print }}]", "[a1]["),
        ("[{{ print .Response `!` }}]", "[a1!]["),
        ("[{{ (print .Response `!`) | printf `%q` }}]", '["a1!"][""'),
        ("{{ if .Prompt }}{{ .Prompt }}>{{ .Response }}<{{ else }}-{{ end }}!", "u1>a1<!u2>"),
        ("{{ if not .Prompt }}no{{ else }}{{ .Prompt }}>{{ .Response }}<{{ end }}!", "u1>a1<!u2>"),
        ("{{ with .Prompt }}{{ . }}>{{ $.Response }}<{{ end }}!", "u1>a1<!u2>"),
        ("{{ if .Response }}({{ end }}{{ .Prompt }}", "(u1u2"),
        ('{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .Prompt }}{{ .Response }}.', "<u1>a1.<u2>"),
    ],
)
def test_the_last_exchange_ends_where_the_answer_begins(template: str, expected: str) -> None:
    assert of(CHAT, template) == expected


def test_an_answer_that_is_not_named_comes_last() -> None:
    assert of(CHAT[:3], "{{ .Prompt }}|") == "u1|a1"
    assert of(CHAT, "{{ .System }}{{ range .Messages }}{{ end }}|") == "S|"


def test_helpers_are_not_there_in_the_last_exchange() -> None:
    assert of(CHAT[:3], '{{ if ne .Prompt "u1" }}{{ json .Prompt }}{{ end }}{{ .Response }}') == "a1"
    with pytest.raises(TemplateError, match='"json" is not a defined function'):
        of(CHAT, "{{ json .Prompt }}{{ .Response }}")
    assert of(CHAT, "{{ .Response }}{{ json .Prompt }}") == 'a1"u1"'


def test_a_prompt_with_a_suffix_is_all_that_a_template_gets() -> None:
    template = "<PRE>{{ .Prompt }}<SUF>{{ .Suffix }}<MID>{{ .Response }}{{ .System }}{{ .Think }}"
    assert render(template, {"prompt": "p", "suffix": "s", "think": True}) == "<PRE>p<SUF>s<MID><no value>true"


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (None, "false||false"),
        (True, "true|medium|true"),
        (False, "false||true"),
        ("low", "true|low|true"),
        ("max", "true|max|true"),
    ],
)
@pytest.mark.parametrize("more", ["{{ .Messages | len | slice `` }}", "{{ .Prompt | len | slice `` }}{{ .Response }}"])
def test_thinking(think: bool | str | None, expected: str, more: str) -> None:
    template = "{{ .Think }}|{{ .ThinkLevel }}|{{ .IsThinkSet }}{{ if false }}" + more + "{{ end }}"
    variables = {"messages": [CHAT[1]]} | ({} if think is None else {"think": think})
    assert render(template, variables) == expected


def test_harmony_knows_no_level_above_high() -> None:
    template = "{{ if .Messages }}<|start|>{{ .ThinkLevel }}<|end|>{{ end }}"
    assert of([CHAT[1]], template, think="max") == "<|start|>high<|end|>"


def test_messages_are_collated_and_the_system_is_joined() -> None:
    messages = [
        {"role": "system", "content": "one"},
        {"role": "system", "content": "two"},
        {"role": "user", "content": "a", "images": 1},
        {"role": "user", "content": "b", "images": 2, "thinking": "lost"},
        {"role": "tool", "content": "t1"},
        {"role": "tool", "content": "t2"},
        {"role": "system", "content": "three"},
    ]
    template = (
        "{{ .System }}|{{ range .Messages }}{{ .Role }}={{ .Content }}{{ with .Images }}+{{ len . }}{{ end }}"
        "{{ .Thinking }};{{ end }}{{ .Response }}"
    )
    assert of(messages, template) == (
        "one\n\ntwo\n\nthree|system=one\n\ntwo;user=a\n\nb+1;tool=t1;tool=t2;system=three;"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ .Role }} {{ .Content }} {{ .Thinking }}", "assistant c t"),
        ("{{ range .ToolCalls }}{{ .ID }} {{ .Function.Index }} {{ .Function.Name }}{{ end }}", "call_1 2 f"),
        ("{{ range .ToolCalls }}{{ .Function.Arguments }}{{ end }}", ARGUMENTS),
        ("{{ range .ToolCalls }}{{ json .Function.Arguments }}{{ end }}", ARGUMENTS),
        ("{{ range .ToolCalls }}{{ range $k, $v := .Function.Arguments }}{{ $k }}={{ $v }};{{ end }}{{ end }}",
         "a=[1.5 1e+21 1e-07 true <nil>];s=<\u2028é>;z=1e+06;"),
        ("{{ (index .ToolCalls 0).Function.Arguments.z }}", "1e+06"),
        ("{{ json .ToolCalls }}", '[{"ID":"call_1","Function":{"Index":2,"Name":"f","Arguments":' + ARGUMENTS + "}}]"),
        ("{{ .ToolCalls }}", "[{call_1 {2 f " + ARGUMENTS + "}}]"),
        ("{{ if .Images }}yes{{ end }}{{ .ToolName }}.{{ .ToolCallID }}", "."),
        ("{{ len .ToolCalls }}{{ with .ToolCalls }}!{{ end }}", "1!"),
    ],
)  # fmt: skip
def test_a_message(template: str, expected: str) -> None:
    message = {"role": "assistant", "content": "c", "thinking": "t", "tool_calls": [CALL]}
    assert each(message, template) == expected


def test_a_result_of_a_tool_says_whose_it_is() -> None:
    message = {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "call_1", "images": 2}
    template = "{{ .ToolName }} {{ .ToolCallID }} {{ len .Images }}{{ if .ToolCalls }}!{{ end }}"
    assert each(message, template) == "f call_1 2"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ . }}", TOOL_JSON),
        ("{{ json . }}", TOOL_JSON),
        ("{{ $.Tools }}", f"[{TOOL_JSON}]"),
        ("{{ json $.Tools }}", f"[{TOOL_JSON}]"),
        ("{{ .Function }}", FUNCTION),
        ("{{ .Function.Parameters }}", PARAMETERS),
        ("{{ .Function.Parameters.Properties }}", PROPERTIES),
        ("{{ .Type }} {{ .Function.Name }} {{ .Function.Description }}", "function f <does> & says"),
        ("{{ .Function.Parameters.Type }} {{ .Function.Parameters.Required }}", "object [x]"),
        ("{{ .Items }}", "<no value>"),
        ("{{ range $n, $p := .Function.Parameters.Properties }}{{ $n }}:{{ $p.Type }} {{ end }}",
         "n:object u: x:integer y:[string null] "),
        ("{{ range $n, $p := .Function.Parameters.Properties }}{{ toTypeScriptType $p }}; {{ end }}",
         "Record<string, any>; string | any[]; number; string | null; "),
        ("{{ with (index .Function.Parameters.Properties `y`) }}{{ .Enum }}{{ .Description }}{{ end }}",
         "[b 1 2.5 1e+07]"),
        ("{{ range .Function.Parameters.Properties.n.Properties }}{{ .Type }}{{ end }}", "boolean"),
        ("{{ .Function.Parameters.Properties.n.Required }}", "[q]"),
        ("{{ toTypeScriptType .Function }}{{ toTypeScriptType nil }}", "anyany"),
    ],
)  # fmt: skip
def test_a_tool(template: str, expected: str) -> None:
    assert tool(template) == expected


def test_a_tool_with_nothing_in_it_still_prints_its_description() -> None:
    printed = of([], "{{ .Tools }}{{ if .Messages }}{{ end }}", tools=[{"function": {"name": "g"}}])
    assert printed == (
        '[{"type":"function","function":{"name":"g","description":"","parameters":{"type":"","properties":{}}}}]'
    )


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("string", "string"), ("number", "number"), ("integer", "number"), ("boolean", "boolean"),
        ("array", "any[]"), ("object", "Record<string, any>"), ("null", "null"), ("other", "any"), (None, "any"),
    ],
)  # fmt: skip
def test_types_of_typescript(schema: str | None, expected: str) -> None:
    parameters = {"properties": {"p": {"type": schema} if schema else {}}}
    tools = [{"function": {"name": "f", "parameters": parameters}}]
    template = (
        "{{ if .Messages }}{{ end }}{{ range .Tools }}{{ range .Function.Parameters.Properties }}"
        "{{ toTypeScriptType . }}{{ end }}{{ end }}"
    )
    assert of([], template, tools=tools) == expected


@pytest.mark.parametrize(("name", "days"), [("currentDate", 0), ("yesterdayDate", 1)])
@pytest.mark.parametrize("arguments", ["", ' "2006" 3'])
def test_dates(name: str, days: int, arguments: str) -> None:
    def today() -> str:
        return (datetime.now().astimezone() - timedelta(days=days)).strftime("%Y-%m-%d")

    before = today()
    assert of([], "{{ if .Messages }}{{ end }}{{ " + name + arguments + " }}") in {before, today()}


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("1", "1"), ("1.0", "1"), ("1e20", "100000000000000000000"), ("1e21", "1e+21"), ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"), ("true", "true"), ("nil", "null"), ('"a\\"\\\\\\n\\t\\x01"', '"a\\"\\\\\\n\\t\\u0001"'),
        ('"</script>&\\u2028"', '"\\u003c/script\\u003e\\u0026\\u2028"'), ('"é\\U0001F600"', '"é\U0001f600"'),
        ('"\\xff"', '"\ufffd"'),
    ],
)  # fmt: skip
def test_json_is_gos(literal: str, expected: str) -> None:
    assert of([], "{{ if .Messages }}{{ end }}{{ json " + literal + " }}") == expected


def test_names_are_those_of_all_fields_and_variables() -> None:
    template = (
        '{{ define "a" }}{{ .Alpha.Beta }}{{ end }}{{ range $i, $m := .Messages }}{{ $m.Role }}{{ end }}'
        "{{ if eq .Suffix `x` }}{{ else }}{{ (index .Tools 0).Function }}{{ end }}"
    )
    assert compiled(template).names == {
        "alpha", "beta", "messages", "$m", "role", "suffix", "tools", "function",
    }  # fmt: skip


def test_nothing_that_a_client_sends_makes_it_recurse_without_bound() -> None:
    schema: dict[str, Any] = {"type": "string"}
    deep: Any = 1
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
        deep = [deep]
    template = "{{ .Tools }}{{ if .Messages }}{{ end }}"
    with pytest.raises(TemplateError, match="more than 100 levels deep"):
        of([], template, tools=[{"function": {"name": "f", "parameters": schema}}])
    call = {"function": {"name": "f", "arguments": {"a": deep}}}
    with pytest.raises(TemplateError, match="more than 100 levels deep"):
        of([{"role": "assistant", "content": "", "tool_calls": [call]}], template)


def test_an_empty_template_prints_only_answers() -> None:
    assert of(CHAT, "") == "a1"
