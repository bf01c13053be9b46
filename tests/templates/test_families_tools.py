"""Tools in Go templates written as published Modelfiles write them."""

from __future__ import annotations

from typing import Any

import pytest

from remuda_plugins.templates.go.ollama import render
from remuda_plugins.templates.go.traits import inspect

from .weather import ASK, FUNCTION, SYSTEM, TOOLS

TOOL = '{"type":"function","function":' + FUNCTION + "}"
CALL = {
    "role": "assistant",
    "content": "",
    "thinking": "I look.",
    "tool_calls": [{"id": "call_1", "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}}}],
}
RESULT = {"role": "tool", "content": "22", "tool_name": "get_weather", "tool_call_id": "call_1"}

LLAMA31 = """\
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>

{{ if .Tools }}Environment: ipython

{{ end }}{{ .System }}<|eot_id|>
{{- end }}
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>

{{ if and $.Tools $last }}Answer with a call of one of these functions, in JSON.

{{ range $.Tools }}{{ . }}

{{ end }}{{ end }}{{ .Content }}<|eot_id|>
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>

{{ if .ToolCalls }}{{ range .ToolCalls -}}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}
{{- end }}{{ else }}{{ .Content }}{{ end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}
{{- if and $last (ne .Role "assistant") }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}"""

MISTRAL = """\
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}
{{- if and $last $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]{{ end }}[INST] {{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range $n, $call := .ToolCalls }}{{ if $n }}, {{ end -}}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"""

COMMAND_R = """\
{{- if or .System .Tools }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ .System }}
{{- with .Tools }}
## Available Tools
{{ range . }}{{ .Function.Name }}(
{{- range $name, $p := .Function.Parameters.Properties }}{{ $name }}: {{ $p.Type }}; {{ end }})
{{- end }}
{{- end }}<|END_OF_TURN_TOKEN|>{{ end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}<|START_OF_TURN_TOKEN|>
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>
{{- if .Content }}{{ .Content }}
{{- else if .ToolCalls }}
Action: ```json
[
{{- range .ToolCalls }}
    {
        "tool_name": "{{ .Function.Name }}",
        "parameters": {{ .Function.Arguments }}
    }
{{- end }}
]```
{{- end }}
{{- else if eq .Role "tool" }}<|SYSTEM_TOKEN|><results>
{{ .Content }}</results>
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"""

GRANITE = """\
{{- if .Tools }}<|start_of_role|>available_tools<|end_of_role|>{{ .Tools }}<|end_of_text|>
{{ end }}
{{- range .Messages }}
{{- $role := .Role }}{{ if eq $role "tool" }}{{ $role = "tool_response" }}{{ end -}}
<|start_of_role|>{{ $role }}<|end_of_role|>
{{- if .ToolCalls }}<|tool_call|>[
{{- range $i, $c := .ToolCalls }}{{ if $i }},{{ end -}}
{"name":"{{ $c.Function.Name }}","arguments":{{ $c.Function.Arguments }}}
{{- end }}]{{ else }}{{ .Content }}{{ end }}<|end_of_text|>
{{ end }}<|start_of_role|>assistant<|end_of_role|>"""

DEEPSEEK = """\
{{- .System }}
{{- range $i, $m := .Messages }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>{{ .Content }}
{{- with .ToolCalls }}<｜tool▁calls▁begin｜>
{{- range . }}<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ .Function.Name }}
```json
{{ .Function.Arguments }}
```<｜tool▁call▁end｜>
{{- end }}<｜tool▁calls▁end｜>
{{- end }}<｜end▁of▁sentence｜>
{{- else if eq .Role "tool" }}<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>
{{- .Content }}<｜tool▁output▁end｜><｜tool▁outputs▁end｜>
{{- end }}
{{- end }}<｜Assistant｜>"""

PROMPTS = {
    "Llama 3.1": (LLAMA31, f"""\
<|start_header_id|>system<|end_header_id|>

Environment: ipython

Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

Answer with a call of one of these functions, in JSON.

{TOOL}

Rome?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

""", """\
<|start_header_id|>system<|end_header_id|>

Environment: ipython

Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

Rome?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

{"name": "get_weather", "parameters": {"city":"Rome"}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>

22<|eot_id|><|start_header_id|>assistant<|end_header_id|>

"""),
    "Mistral": (
        MISTRAL,
        f"[AVAILABLE_TOOLS] [{TOOL}][/AVAILABLE_TOOLS][INST] Rome?[/INST]",
        ('[INST] Rome?[/INST][TOOL_CALLS] [{"name": "get_weather", "arguments": {"city":"Rome"}}]</s>'
        '[TOOL_RESULTS] {"content": 22}[/TOOL_RESULTS]'),
    ),
    "Command-R": (COMMAND_R, """\
<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.
## Available Tools
get_weather(city: string; unit: string; )<|END_OF_TURN_TOKEN|>\
<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Rome?<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>""", """\
<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.
## Available Tools
get_weather(city: string; unit: string; )<|END_OF_TURN_TOKEN|>\
<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Rome?<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>
Action: ```json
[
    {
        "tool_name": "get_weather",
        "parameters": {"city":"Rome"}
    }
]```<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>
22</results><|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"""),
    "Granite": (GRANITE, f"""\
<|start_of_role|>available_tools<|end_of_role|>[{TOOL}]<|end_of_text|>
<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Rome?<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>""", f"""\
<|start_of_role|>available_tools<|end_of_role|>[{TOOL}]<|end_of_text|>
<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Rome?<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|><|tool_call|>[{{"name":"get_weather","arguments":{{"city":"Rome"}}}}]<|end_of_text|>
<|start_of_role|>tool_response<|end_of_role|>22<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>"""),
    "DeepSeek V3": (DEEPSEEK, "Be brief.<｜User｜>Rome?<｜Assistant｜>", """\
Be brief.<｜User｜>Rome?<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
```json
{"city":"Rome"}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>\
<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>22<｜tool▁output▁end｜><｜tool▁outputs▁end｜><｜Assistant｜>"""),
}  # fmt: skip


def chat(template: str, *messages: dict[str, Any], think: bool | str | None = None, tools: bool = True) -> str:
    more: dict[str, Any] = ({} if think is None else {"think": think}) | ({"tools": TOOLS} if tools else {})
    return render(template, {"messages": list(messages), **more})


@pytest.mark.parametrize("family", PROMPTS)
def test_tools_calls_and_results(family: str) -> None:
    template, asked, answered = PROMPTS[family]
    if family == "Mistral":
        assert chat(template, ASK) == asked
        assert chat(template, ASK, CALL, RESULT) == answered
    else:
        assert chat(template, SYSTEM, ASK) == asked
        assert chat(template, SYSTEM, ASK, CALL, RESULT) == answered


@pytest.mark.parametrize(
    ("family", "tag"),
    [
        ("Llama 3.1", ""),
        ("Mistral", "[TOOL_CALLS] ["),
        ("Command-R", "Action: ```json\n["),
        ("Granite", "<|tool_call|>["),
        ("DeepSeek V3", "<｜tool▁calls▁begin｜>"),
    ],
)
def test_what_the_families_say_of_themselves(family: str, tag: str) -> None:
    traits = inspect(PROMPTS[family][0])
    assert traits.tool_tag == tag
    assert traits.messages
    assert traits.tools == (family != "DeepSeek V3")
    assert traits.tool_results == (family != "DeepSeek V3")
