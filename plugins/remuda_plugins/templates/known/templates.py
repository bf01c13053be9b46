"""A Go template for each known family, and the strings that end its answers.

All are of the kind that is rendered once for each exchange: `.System`, `.Prompt`, `.Response`. What stands after
`.Response` ends an answer of the past. A space that belongs to the answer is only written before one that is there,
since a model is to begin with it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["STOPS", "TEMPLATES"]

_CHATML: Final = """\
{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""

_GEMMA: Final = """\
<start_of_turn>user
{{ if .System }}{{ .System }}

{{ end }}{{ .Prompt }}<end_of_turn>
<start_of_turn>model
{{ .Response }}<end_of_turn>
"""

_CODE_ASSISTANT: Final = """\
{{ if .System }}{{ .System }}

{{ end }}"""

TEMPLATES: Final[dict[str, str]] = {
    "alfred": """\
{{ if .System }}<start_system>{{ .System }}<end_message>{{ end }}\
{{ if .Prompt }}<start_user>{{ .Prompt }}<end_message>{{ end }}\
<start_assistant>{{ .Response }}<end_message>""",
    "alpaca": """\
{{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}### Instruction:
{{ .Prompt }}

{{ end }}### Response:
{{ .Response }}

""",
    "chatml": _CHATML,
    "chatqa": """\
{{ if .System }}System: {{ .System }}

{{ end }}{{ if .Prompt }}User: {{ .Prompt }}

{{ end }}Assistant:{{ if .Response }} {{ end }}{{ .Response }}

""",
    "codellama-70b-instruct": """\
{{ if .System }}Source: system

 {{ .System }} <step> {{ end }}{{ if .Prompt }}Source: user

 {{ .Prompt }} <step> {{ end }}Source: assistant
Destination: user

 {{ .Response }} <step> """,
    "command-r": """\
{{ if .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ .System }}<|END_OF_TURN_TOKEN|>{{ end }}\
{{ if .Prompt }}<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ .Prompt }}<|END_OF_TURN_TOKEN|>{{ end }}\
<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{{ .Response }}<|END_OF_TURN_TOKEN|>""",
    "falcon-instruct": """\
{{ if .System }}System: {{ .System }}
{{ end }}{{ if .Prompt }}User: {{ .Prompt }}
{{ end }}Falcon:{{ if .Response }} {{ end }}{{ .Response }}
""",
    "gemma-instruct": _GEMMA,
    "gemma3-instruct": _GEMMA,
    "granite-instruct": """\
{{ if .System }}System:
{{ .System }}

{{ end }}{{ if .Prompt }}Question:
{{ .Prompt }}

{{ end }}Answer:
{{ .Response }}

""",
    "llama2-chat": """\
[INST] {{ if .System }}<<SYS>>
{{ .System }}
<</SYS>>

{{ end }}{{ .Prompt }} [/INST]{{ if .Response }} {{ end }}{{ .Response }} </s><s>""",
    "llama3-instruct": """\
{{ if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>

{{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}<|eot_id|>""",
    "magicoder": f"""\
{_CODE_ASSISTANT}{{{{ if .Prompt }}}}@@ Instruction
{{{{ .Prompt }}}}

{{{{ end }}}}@@ Response
{{{{ .Response }}}}

""",
    "mistral-instruct": """\
[INST] {{ if .System }}{{ .System }}

{{ end }}{{ .Prompt }} [/INST]{{ if .Response }} {{ end }}{{ .Response }}</s>""",
    "openchat": """\
{{ if .System }}GPT4 Correct System: {{ .System }}<|end_of_turn|>{{ end }}\
{{ if .Prompt }}GPT4 Correct User: {{ .Prompt }}<|end_of_turn|>{{ end }}\
GPT4 Correct Assistant:{{ if .Response }} {{ end }}{{ .Response }}<|end_of_turn|>""",
    "phi-3": """\
{{ if .System }}<|system|>
{{ .System }}<|end|>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>
""",
    "solar-instruct": """\
{{ if .System }}### System:
{{ .System }}

{{ end }}{{ if .Prompt }}### User:
{{ .Prompt }}

{{ end }}### Assistant:
{{ .Response }}

""",
    "starcoder2-instruct": f"""\
{_CODE_ASSISTANT}{{{{ if .Prompt }}}}### Instruction
{{{{ .Prompt }}}}

{{{{ end }}}}### Response
{{{{ .Response }}}}<|endoftext|>

""",
    "vicuna": """\
{{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}USER: {{ .Prompt }}
{{ end }}ASSISTANT:{{ if .Response }} {{ end }}{{ .Response }}</s>
""",
    "zephyr": """\
{{ if .System }}<|system|>
{{ .System }}</s>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}</s>
{{ end }}<|assistant|>
{{ .Response }}</s>
""",
}

STOPS: Final[dict[str, tuple[str, ...]]] = {
    "alfred": ("<start_system>", "<end_message>", "<start_user>", "<start_assistant>"),
    "alpaca": ("### Instruction:", "### Response"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "chatqa": ("System:", "User:", "Assistant:"),
    "codellama-70b-instruct": ("Source:", "Destination:", "<step>"),
    "command-r": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "falcon-instruct": ("User:", "Falcon:"),
    "gemma-instruct": ("<start_of_turn>", "<end_of_turn>"),
    "gemma3-instruct": ("<end_of_turn>",),
    "granite-instruct": ("System:", "Question:", "Answer:"),
    "llama2-chat": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    "llama3-instruct": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "magicoder": ("@@ Instruction", "@@ Response"),
    "mistral-instruct": ("<|im_start|>", "<|im_end|>"),
    "openchat": ("<|end_of_turn|>",),
    "phi-3": ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>"),
    "solar-instruct": ("### System:", "### User:", "### Assistant"),
    "starcoder2-instruct": ("### Instruction", "### Response", "<|endoftext|>"),
    "vicuna": ("USER:", "ASSISTANT:"),
    "zephyr": ("<|system|>", "</s>", "<|user|>", "<|assistant|>"),
}
