"""Qwen and gpt-oss, tools and thinking, in Go templates written as published Modelfiles write them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from remuda_plugins.templates.go.ollama import render
from remuda_plugins.templates.go.traits import inspect

from .weather import ASK, FUNCTION, SYSTEM, TOOLS

CALL = {
    "role": "assistant",
    "content": "",
    "thinking": "I look.",
    "tool_calls": [{"id": "call_1", "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}}}],
}
RESULT = {"role": "tool", "content": "22", "tool_name": "get_weather", "tool_call_id": "call_1"}

QWEN = """\
{{- $user := -1 }}
{{- range $i, $m := .Messages }}{{ if eq $m.Role "user" }}{{ $user = $i }}{{ end }}{{ end }}
{{- if or .System .Tools }}<|im_start|>system
{{ if .System }}{{ .System }}{{ if .Tools }}

{{ end }}{{ end }}{{ if .Tools }}# Tools

<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>{{ end }}<|im_end|>
{{ end }}
{{- $before := "" }}
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if and (eq $before "tool") (ne .Role "tool") }}<|im_end|>
{{ end }}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if and $.IsThinkSet .Thinking (gt $i $user) -}}
<think>
{{ .Thinking }}
</think>

{{ end }}{{ .Content }}
{{- if .ToolCalls }}{{ if .Content }}
{{ end }}<tool_call>
{{- range $n, $call := .ToolCalls }}{{ if $n }}
</tool_call>
<tool_call>{{ end }}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}
</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}{{ if ne $before "tool" }}<|im_start|>user{{ end }}
<tool_response>
{{ .Content }}
</tool_response>{{ if $last }}<|im_end|>
{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end }}
{{- $before = .Role }}
{{- end }}"""

HARMONY = """\
<|start|>system<|message|>Current date: {{ currentDate }}
{{ if and .IsThinkSet .Think (ne .ThinkLevel "") }}
Reasoning: {{ .ThinkLevel }}
{{ end }}
# Valid channels: analysis, commentary, final.<|end|>
{{- if or .System .Tools }}<|start|>developer<|message|>
{{- if .System }}# Instructions

{{ .System }}
{{ end }}
{{- if .Tools }}
# Tools

namespace functions {
{{ range .Tools }}
{{ with .Function.Description }}// {{ . }}
{{ end }}type {{ .Function.Name }} = (_: {
{{- range $name, $p := .Function.Parameters.Properties }}
{{ with $p.Description }}// {{ . }}
{{ end }}
{{- $name }}{{ $optional := true }}
{{- range $.Tools }}{{ range .Function.Parameters.Required }}
{{- if eq . $name }}{{ $optional = false }}{{ end }}{{ end }}{{ end }}
{{- if $optional }}?{{ end }}: {{ if $p.Enum -}}
{{ range $i, $e := $p.Enum }}{{ if $i }} | {{ end }}"{{ $e }}"{{ end }}
{{- else }}{{ toTypeScriptType $p }}{{ end }},
{{- end }}
}) => any;
{{ end }}
} // namespace functions
{{- end }}<|end|>
{{- end }}
{{- range $i, $m := .Messages }}
{{- if eq .Role "user" }}<|start|>user<|message|>{{ .Content }}<|end|>
{{- else if eq .Role "assistant" }}
{{- if .Thinking }}<|start|>assistant<|channel|>analysis<|message|>{{ .Thinking }}<|end|>{{ end }}
{{- if .Content }}<|start|>assistant<|channel|>final<|message|>{{ .Content }}<|end|>{{ end }}
{{- range .ToolCalls -}}
<|start|>assistant<|channel|>commentary to=functions.{{ .Function.Name }} <|constrain|>json<|message|>
{{- .Function.Arguments }}<|call|>
{{- end }}
{{- else if eq .Role "tool" -}}
<|start|>functions.{{ .ToolName }} to=assistant<|channel|>commentary<|message|>{{ .Content }}<|end|>
{{- end }}
{{- end }}<|start|>assistant"""


def chat(template: str, *messages: dict[str, Any], think: bool | str | None = None, tools: bool = True) -> str:
    more: dict[str, Any] = ({} if think is None else {"think": think}) | ({"tools": TOOLS} if tools else {})
    return render(template, {"messages": list(messages), **more})


def test_qwen_with_tools() -> None:
    assert chat(QWEN, SYSTEM, ASK) == f"""\
<|im_start|>system
Be brief.

# Tools

<tools>
{{"type": "function", "function": {FUNCTION}}}
</tools><|im_end|>
<|im_start|>user
Rome?<|im_end|>
<|im_start|>assistant
"""  # fmt: skip
    assert chat(QWEN, SYSTEM, ASK, CALL, RESULT) == f"""\
<|im_start|>system
Be brief.

# Tools

<tools>
{{"type": "function", "function": {FUNCTION}}}
</tools><|im_end|>
<|im_start|>user
Rome?<|im_end|>
<|im_start|>assistant
<tool_call>
{{"name": "get_weather", "arguments": {{"city":"Rome"}}}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
22
</tool_response><|im_end|>
<|im_start|>assistant
"""  # fmt: skip
    traits = inspect(QWEN)
    assert (traits.tool_tag, traits.tools, traits.tool_results) == ("<tool_call>", True, True)


def test_results_that_follow_each_other_are_one_turn() -> None:
    both = {**CALL, "content": "Both.", "tool_calls": CALL["tool_calls"] * 2}
    assert chat(QWEN, ASK, both, RESULT, RESULT, tools=False) == """\
<|im_start|>user
Rome?<|im_end|>
<|im_start|>assistant
Both.
<tool_call>
{"name": "get_weather", "arguments": {"city":"Rome"}}
</tool_call>
<tool_call>
{"name": "get_weather", "arguments": {"city":"Rome"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
22
</tool_response>
<tool_response>
22
</tool_response><|im_end|>
<|im_start|>assistant
"""  # fmt: skip


def test_qwen3_keeps_its_thinking_only_since_the_last_question() -> None:
    earlier = {"role": "assistant", "content": "Yes.", "thinking": "Old."}
    prompt = chat(QWEN, ASK, earlier, ASK, CALL, RESULT, think=True, tools=False)
    assert prompt == """\
<|im_start|>user
Rome?<|im_end|>
<|im_start|>assistant
Yes.<|im_end|>
<|im_start|>user
Rome?<|im_end|>
<|im_start|>assistant
<think>
I look.
</think>

<tool_call>
{"name": "get_weather", "arguments": {"city":"Rome"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
22
</tool_response><|im_end|>
<|im_start|>assistant
"""  # fmt: skip


def test_qwen3_does_not_think_when_told_so() -> None:
    assert chat(QWEN, ASK, think=False, tools=False) == (
        "<|im_start|>user\nRome?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    begun = {"role": "assistant", "content": "22", "thinking": "I know."}
    assert chat(QWEN, ASK, begun, think=True, tools=False) == (
        "<|im_start|>user\nRome?<|im_end|>\n<|im_start|>assistant\n<think>\nI know.\n</think>\n\n22"
    )
    traits = inspect(QWEN)
    assert (traits.thinking, traits.think_open, traits.think_close) == (True, "<think>", "</think>")


def test_gpt_oss() -> None:
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    prompt = chat(HARMONY, SYSTEM, ASK, CALL, RESULT, think="high")
    assert (
        prompt
        == f"""\
<|start|>system<|message|>Current date: {today}

Reasoning: high

# Valid channels: analysis, commentary, final.<|end|><|start|>developer<|message|># Instructions

Be brief.

# Tools

namespace functions {{

// Weather of a city
type get_weather = (_: {{
// The city
city: string,
unit?: "C" | "F",
}}) => any;

}} // namespace functions<|end|><|start|>user<|message|>Rome?<|end|>\
<|start|>assistant<|channel|>analysis<|message|>I look.<|end|>\
<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{{"city":"Rome"}}<|call|>\
<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>22<|end|><|start|>assistant"""
    )
    traits = inspect(HARMONY)
    assert (traits.thinking, traits.think_open, traits.tools) == (True, "", True)
