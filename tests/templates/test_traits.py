"""What templates can say, as read from their source (Ollama API, sections 8.3, 8.4 and 9)."""

from __future__ import annotations

import pytest

from remuda.hookspecs import TemplateTraits
from remuda_plugins.templates import jinja_traits
from remuda_plugins.templates.go import traits
from remuda_plugins.templates.go.errors import TemplateError

THINKS = "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}"
CALLS = (
    '{{ range .Messages }}{{ if eq .Role "tool" }}{{ .Content }}{{ else if .ToolCalls }}'
    "<tool_call>\n{{ range .ToolCalls }}{{ .Function }}{{ end }}{{ end }}{{ end }}{{ .Tools }}"
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", TemplateTraits(messages=False)),
        ("{{ .Prompt }}", TemplateTraits(messages=False)),
        ("{{ .Prompt }}{{ .Suffix }}", TemplateTraits(messages=False, insert=True)),
        ("{{ range .Messages }}{{ .Content }}{{ end }}", TemplateTraits()),
        ("{{ range $.Messages }}{{ end }}{{ if $.Tools }}{{ end }}", TemplateTraits(tools=True)),
        (THINKS, TemplateTraits(thinking=True, think_open="<think>", think_close="</think>")),
        (CALLS, TemplateTraits(tools=True, tool_results=True, tool_tag="<tool_call>")),
        ('{{ define "m" }}{{ range .Messages }}{{ end }}{{ end }}', TemplateTraits()),
    ],
)
def test_a_go_template(template: str, expected: TemplateTraits) -> None:
    assert traits.inspect(template) == expected


@pytest.mark.parametrize(
    ("template", "tags"),
    [
        ("{{ range $i, $m := .Messages }}{{ if $m.Thinking }}\n<t>\n{{ $m.Thinking }}\n</t>\n{{ end }}{{ end }}",
         ("<t>", "</t>")),
        ("{{ range .Messages }}A{{ if and .Thinking true }}<t>{{ .Thinking }}</t>{{ end }}Z{{ end }}", ("<t>", "</t>")),
        ("{{ range .Messages }}<t>{{ if .Role }}{{ .Thinking }}{{ end }}</t>{{ end }}", ("", "")),
        ("{{ range .Messages }}<t>{{ .Thinking }}{{ end }}", ("", "")),
        ("{{ range .Messages }} {{ .Thinking }}</t>{{ end }}", ("", "")),
        ("{{ range .Tools }}<t>{{ .Thinking }}</t>{{ end }}{{ .Messages }}", ("", "")),
        ("<t>{{ .Thinking }}</t>{{ .Messages }}", ("", "")),
        ("{{ range .Messages }}{{ range .ToolCalls }}<t>{{ $.Thinking }}</t>{{ end }}{{ end }}", ("<t>", "</t>")),
    ],
)  # fmt: skip
def test_tags_round_thinking(template: str, tags: tuple[str, str]) -> None:
    found = traits.inspect(template)
    assert (found.think_open, found.think_close) == tags
    assert found.thinking == bool(tags[0])


def test_a_harmony_template_thinks_in_a_channel() -> None:
    found = traits.inspect(
        "{{ range .Messages }}<|channel|>analysis<|message|>{{ .Thinking }}<|end|>{{ .Content }}{{ end }}"
    )
    assert (found.thinking, found.think_open, found.think_close) == (True, "", "")


@pytest.mark.parametrize(
    ("block", "tag"),
    [
        ("{{ if .ToolCalls }}[TOOL_CALLS] [{{ end }}", "[TOOL_CALLS] ["),
        ("{{ if .ToolCalls }}[TOOL_CALLS] {{ range .ToolCalls }}x{{ end }}{{ end }}", "[TOOL_CALLS]"),
        ("{{ if and .Role .ToolCalls }}\n<tc>{\"name\": {{ end }}", "<tc>"),
        ("{{ if (and .Role $.ToolCalls) }} <tc> {{ end }}", "<tc>"),
        ("{{ if .ToolCalls }}{{ range .ToolCalls }}\n<tc>{{ . }}{{ end }}{{ end }}", "<tc>"),
        ("{{ if .ToolCalls }}{{ if .Content }}{{ .Content }}{{ else }}no{{ end }}<tc>{{ end }}", "no"),
        ("{{ if .ToolCalls }}{{ if .Content }}\n{{ end }}<tc>{{ end }}", "<tc>"),
        ("{{ if .ToolCalls }}{{ if .Content }}{{ .Content }}{{ end }}<tc>{{ end }}", ""),
        ("{{ if .ToolCalls }}{{ .Content }}<tc>{{ end }}", ""),
        ("{{ if .ToolCalls }}{{ $x := 1 }}<tc>{{ end }}", "<tc>"),
        ("{{ if .ToolCalls }}{\"name\": 1}{{ end }}", ""),
        ("{{ if .ToolCalls }}  {{ end }}<tc>", ""),
        ("{{ if .Role }}x{{ else if .ToolCalls }}<tc>{{ end }}", "<tc>"),
        ("{{ with .Role }}{{ if $.ToolCalls }}<tc>{{ end }}{{ end }}", "<tc>"),
        ("{{ range .ToolCalls }}<tc>{{ end }}", "<tc>"),
        ("{{ .ToolCalls }}<tc>", ""),
    ],
)  # fmt: skip
def test_what_stands_before_a_call(block: str, tag: str) -> None:
    assert traits.inspect("{{ range .Messages }}" + block + "{{ end }}").tool_tag == tag


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CALLS, True),
        (CALLS.replace('eq .Role "tool"', 'eq $.Role "tool"'), True),
        (CALLS.replace('eq .Role "tool"', "true"), False),
        (CALLS.replace('eq .Role "tool"', "true") + "<tool_response>", True),
        (CALLS.replace('eq .Role "tool"', "true") + "[TOOL_RESULTS]", True),
        (CALLS.replace("{{ .Tools }}", ""), False),
        ('{{ range .Messages }}{{ if eq .Role "tool" }}{{ end }}{{ end }}{{ .Tools }}', False),
    ],
)
def test_results_of_tools_come_back(template: str, expected: bool) -> None:
    assert traits.inspect(template).tool_results is expected


def test_a_template_that_cannot_be_parsed_says_nothing() -> None:
    with pytest.raises(TemplateError, match=r"template: :1: unclosed action"):
        traits.inspect("{{ .Prompt")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ messages }}", TemplateTraits()),
        ("{{ tools }}", TemplateTraits(tools=True)),
        ("{{ message.tool_calls }}", TemplateTraits(tools=True)),
        ("{{ message.tool_calls }}{% if m.role == 'tool' %}", TemplateTraits(tools=True, tool_results=True)),
        ('{{ message.tool_calls }}{% if m["role"] == "tool" %}', TemplateTraits(tools=True, tool_results=True)),
        ("{{ message.tool_calls }}{% if m.role|lower == 'tool' %}", TemplateTraits(tools=True, tool_results=True)),
        ("{{ message.tool_calls }}ipython", TemplateTraits(tools=True, tool_results=True)),
        ("{% if role == 'assistant_tool_call' %}tool_response", TemplateTraits(tools=True, tool_results=True)),
        ("{{ tools }}tool_response", TemplateTraits(tools=True)),
        ("{{ content.split('</think>')[-1] }}",
         TemplateTraits(thinking=True, think_open="<think>", think_close="</think>")),
        ("{{ content.split('</think>')[-1] }}{{ message.reasoning_content }}", TemplateTraits()),
        ("<|channel|>analysis", TemplateTraits(thinking=True)),
    ],
)  # fmt: skip
def test_a_jinja_template(template: str, expected: TemplateTraits) -> None:
    assert jinja_traits.inspect(template) == expected


@pytest.mark.parametrize(
    ("open_", "close"),
    [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<seed:think>", "</seed:think>"),
    ],
)
def test_families_of_thinking_in_jinja(open_: str, close: str) -> None:
    found = jinja_traits.inspect("{{ '" + open_ + "' + message.reasoning_content + '" + close + "' }}")
    assert (found.thinking, found.think_open, found.think_close) == (True, open_, close)
    assert jinja_traits.inspect(open_).thinking is False


@pytest.mark.parametrize(
    "tag",
    [
        "<tool_call>",
        "[TOOL_CALLS]",
        "<|tool_call|>",
        "<|START_ACTION|>",
        "<｜tool▁calls▁begin｜>",
        "<|tool_calls_section_begin|>",
        "<|tool_call_start|>",
        "<seed:tool_call>",
        "<|python_tag|>",
    ],
)
def test_families_of_calls_in_jinja(tag: str) -> None:
    assert jinja_traits.inspect("{{ tools }}" + tag + "{{ call }}").tool_tag == tag


def test_a_template_of_a_known_family_says_where_answers_end() -> None:
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
        " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    found = jinja_traits.inspect(template)
    assert (found.stops, found.known) == (("<|im_start|>", "<|im_end|>"), "chatml")
    assert "{{ .Prompt }}" in found.known_template
