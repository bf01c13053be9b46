"""Conversations in Go templates written as published Modelfiles write them, against the formats that models know."""

from __future__ import annotations

from typing import Any

import pytest

from remuda_plugins.templates.go.ollama import render
from remuda_plugins.templates.known.templates import TEMPLATES

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello!"}
WHO = {"role": "user", "content": "Who are you?"}
BEGUN = {"role": "assistant", "content": "I am"}
CHAT = [SYSTEM, HI, HELLO, WHO]

CHATML = """\
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if not (and $last (eq .Role "assistant")) }}<|im_end|>
{{ end }}
{{- if and $last (ne .Role "assistant") }}<|im_start|>assistant
{{ end }}
{{- end }}"""

LLAMA2 = """\
[INST] {{ if .System }}<<SYS>>
{{ .System }}
<</SYS>>

{{ end }}{{ .Prompt }} [/INST]{{ if .Response }} {{ end }}{{ .Response }} </s><s>"""

LLAMA3 = """\
{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}"""

MISTRAL = """\
{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}[INST] {{ if and $.System (eq (len (slice $.Messages $index)) 1) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }} {{ .Content }}</s>
{{- end }}
{{- end }}"""

GEMMA = """\
{{- $system := "" }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "system" }}{{ $system = .Content }}
{{- else if eq .Role "user" }}<start_of_turn>user
{{ if $system }}{{ $system }}

{{ $system = "" }}{{ end }}{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}"""

PHI3 = """\
{{ if .System }}<|system|>
{{ .System }}<|end|>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>
"""

PHI4 = """\
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}<|im_sep|>{{ .Content }}{{ if not (and $last (eq .Role "assistant")) }}<|im_end|>{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant<|im_sep|>{{ end }}
{{- end }}"""

COMMAND_R = """\
{{- if .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ .System }}<|END_OF_TURN_TOKEN|>{{ end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}<|START_OF_TURN_TOKEN|>
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>{{ .Content }}
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{{ .Response }}"""

GRANITE = """\
{{- define "turn" }}<|start_of_role|>{{ .Role }}<|end_of_role|>{{ .Content }}<|end_of_text|>
{{ end }}
{{- range .Messages }}{{ template "turn" . }}{{ end }}<|start_of_role|>assistant<|end_of_role|>"""

DEEPSEEK = """\
{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>{{ .Content }}{{ if not $last }}<｜end▁of▁sentence｜>{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet $.Think }}<think>
{{ else if $.IsThinkSet }}<think>

</think>

{{ end }}{{ end }}
{{- end }}"""

CHATML_PROMPT = """\
<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
Hi<|im_end|>
<|im_start|>assistant
Hello!<|im_end|>
<|im_start|>user
Who are you?<|im_end|>
<|im_start|>assistant
"""

LLAMA2_PROMPT = """\
[INST] <<SYS>>
Be brief.
<</SYS>>

Hi [/INST] Hello! </s><s>[INST] Who are you? [/INST]"""

LLAMA3_PROMPT = """\
<|start_header_id|>system<|end_header_id|>

Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>

Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>

Who are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

"""

MISTRAL_PROMPT = """\
[INST] Hi[/INST] Hello!</s>[INST] Be brief.

Who are you?[/INST]"""

GEMMA_PROMPT = """\
<start_of_turn>user
Be brief.

Hi<end_of_turn>
<start_of_turn>model
Hello!<end_of_turn>
<start_of_turn>user
Who are you?<end_of_turn>
<start_of_turn>model
"""

PHI3_PROMPT = """\
<|system|>
Be brief.<|end|>
<|user|>
Hi<|end|>
<|assistant|>
Hello!<|end|>
<|user|>
Who are you?<|end|>
<|assistant|>
"""

PHI4_PROMPT = (
    "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
    "<|im_start|>assistant<|im_sep|>Hello!<|im_end|><|im_start|>user<|im_sep|>Who are you?<|im_end|>"
    "<|im_start|>assistant<|im_sep|>"
)

COMMAND_R_PROMPT = (
    "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello!<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Who are you?<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
)

GRANITE_PROMPT = """\
<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>Hello!<|end_of_text|>
<|start_of_role|>user<|end_of_role|>Who are you?<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>"""

DEEPSEEK_PROMPT = "Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜><｜User｜>Who are you?<｜Assistant｜>"

FAMILIES = {
    "ChatML": (CHATML, CHATML_PROMPT),
    "ChatML, legacy": (TEMPLATES["chatml"], CHATML_PROMPT),
    "Llama 2": (LLAMA2, LLAMA2_PROMPT),
    "Llama 3": (LLAMA3, LLAMA3_PROMPT),
    "Llama 3, legacy": (TEMPLATES["llama3-instruct"], LLAMA3_PROMPT),
    "Mistral": (MISTRAL, MISTRAL_PROMPT),
    "Gemma": (GEMMA, GEMMA_PROMPT),
    "Gemma, legacy": (TEMPLATES["gemma3-instruct"], GEMMA_PROMPT),
    "Phi-3": (PHI3, PHI3_PROMPT),
    "Phi-4": (PHI4, PHI4_PROMPT),
    "Command-R": (COMMAND_R, COMMAND_R_PROMPT),
    "Command-R, legacy": (TEMPLATES["command-r"], COMMAND_R_PROMPT),
    "Granite": (GRANITE, GRANITE_PROMPT),
    "DeepSeek V3": (DEEPSEEK, DEEPSEEK_PROMPT),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation(family: str) -> None:
    template, prompt = FAMILIES[family]
    assert render(template, {"messages": CHAT}) == prompt


@pytest.mark.parametrize(
    ("family", "begun"),
    [
        ("ChatML", "I am"),
        ("ChatML, legacy", "I am"),
        ("Llama 2", " I am"),
        ("Llama 3, legacy", "I am"),
        ("Gemma", "I am"),
        ("Gemma, legacy", "I am"),
        ("Phi-3", "I am"),
        ("Phi-4", "I am"),
        ("Command-R, legacy", "I am"),
        ("DeepSeek V3", "I am"),
    ],
)
def test_a_last_message_of_the_assistant_begins_the_answer(family: str, begun: str) -> None:
    template, prompt = FAMILIES[family]
    assert render(template, {"messages": [*CHAT, BEGUN]}) == prompt + begun


@pytest.mark.parametrize(
    ("think", "end"), [(True, "<think>\n"), (False, "<think>\n\n</think>\n\n"), ("high", "<think>\n"), (None, "")]
)
def test_deepseek_r1(think: bool | str | None, end: str) -> None:
    variables: dict[str, Any] = {"messages": CHAT} | ({} if think is None else {"think": think})
    assert render(DEEPSEEK, variables) == DEEPSEEK_PROMPT + end


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>", "<PRE> def f( <SUF>return 1 <MID>"),
        (
            (
                "{{ if .Suffix }}<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>"
                "{{ else }}{{ range .Messages }}{{ .Content }}{{ end }}{{ end }}"
            ),
            "<|fim_prefix|>def f(<|fim_suffix|>return 1<|fim_middle|>",
        ),
        ("[SUFFIX]{{ .Suffix }}[PREFIX]{{ .Prompt }}", "[SUFFIX]return 1[PREFIX]def f("),
    ],
)
def test_filling_in_the_middle(template: str, prompt: str) -> None:
    assert render(template, {"prompt": "def f(", "suffix": "return 1"}) == prompt
