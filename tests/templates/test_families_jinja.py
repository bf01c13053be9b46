"""Conversations in Jinja templates written as published ones are, against the formats that models know."""

from __future__ import annotations

from typing import Any

import pytest

from remuda_plugins.templates.jinja_render import Refused, render

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": " Hi "}
HELLO = {"role": "assistant", "content": "Hello!", "thinking": "A greeting."}
ASK = {"role": "user", "content": "Rome?"}
CALL = {
    "role": "assistant",
    "content": "",
    "thinking": "I look.",
    "tool_calls": [{"id": "call_12345678", "function": {"index": 0, "name": "weather", "arguments": {"city": "Róma"}}}],
}
RESULT = {"role": "tool", "content": "22", "tool_name": "weather", "tool_call_id": "call_12345678"}
CHAT = [SYSTEM, HI, HELLO, ASK]
TOOLS = [
    {
        "function": {
            "name": "weather",
            "description": "Weather <now>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    }
]
TOOL = (
    '{"type": "function", "function": {"name": "weather", "description": "Weather <now>", '
    '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}'
)

QWEN3 = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=0) %}
{%- for message in messages %}
    {%- if message.role == "user" and message.content is string and not message.content.startswith('<tool_response>') %}
        {%- set ns.last = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > ns.last and reasoning_content %}
            {{- '<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' }}
        {%- endif %}
        {{- content }}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '<tool_call>\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {%- if tool_call.arguments is string %}{{- tool_call.arguments }}
            {%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (loop.previtem.role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or (loop.nextitem.role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""

QWEN3_TOOLS = f"""\
<|im_start|>system
Be brief.

# Tools

<tools>
{TOOL}
</tools><|im_end|>
<|im_start|>user
Rome?<|im_end|>
<|im_start|>assistant
<think>
I look.
</think>

<tool_call>
{{"name": "weather", "arguments": {{"city": "Róma"}}}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
22
</tool_response>
<tool_response>
22
</tool_response><|im_end|>
<|im_start|>assistant
"""

LLAMA3 = r"""{{- bos_token }}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}{{- "Environment: ipython\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' + (tool_call.arguments | tojson) + "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""

LLAMA3_PROMPT = """\
<s><|start_header_id|>system<|end_header_id|>

Today Date: 26 Jul 2024

Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>

Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>

Rome?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

"""

MISTRAL = r"""
{%- set ns = namespace(index=0) %}
{%- for message in messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and message == (messages | selectattr("role", "equalto", "user") | list)[-1] %}
            {{- "[AVAILABLE_TOOLS]" + (tools | tojson) + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {{- "[INST]" + message["content"] + "[/INST]" }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS][" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
        {%- endfor %}
        {{- "]" + eos_token }}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token }}
    {%- elif message["role"] == "tool" %}
        {%- if not message.tool_call_id is defined or message.tool_call_id|length != 9 %}
            {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
        {%- endif %}
        {{- '[TOOL_RESULTS]{"content": ' + message.content|string + ', "call_id": "' + message.tool_call_id + '"}' }}
        {{- "[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}"""

DEEPSEEK = (
    "{% set ns = namespace(is_tool=false, system='') %}"
    "{%- for message in messages %}{%- if message['role'] == 'system' %}"
    "{% set ns.system = message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is none %}"
    "{{ '<｜Assistant｜><｜tool▁calls▁begin｜>' }}{%- for tool in message['tool_calls'] %}"
    "{{ '<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name']"
    " + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```' + '<｜tool▁call▁end｜>' }}"
    "{%- endfor %}{{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}"
    "{%- if message['role'] == 'tool' %}"
    "{{ '<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + message['content']"
    " + '<｜tool▁output▁end｜><｜tool▁outputs▁end｜>' }}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)

GRANITE = r"""{%- if tools %}
    {{- '<|start_of_role|>available_tools<|end_of_role|>' }}{{- tools | tojson(indent=4) }}{{- '<|end_of_text|>\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|start_of_role|>assistant' }}{%- if thinking %}{{- ' {"thinking": true}' }}{%- endif %}
        {{- '<|end_of_role|>' }}
    {%- endif %}
{%- endfor %}"""


def chat(template: str, messages: list[dict[str, Any]], **more: Any) -> str:
    return render(template, {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", **more})


def test_qwen3() -> None:
    assert chat(QWEN3, [SYSTEM, ASK, CALL, RESULT, RESULT], tools=TOOLS, think=True) == QWEN3_TOOLS
    assert chat(QWEN3, [HI, HELLO, ASK], think=False) == (
        "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nRome?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_llama_3() -> None:
    assert chat(LLAMA3, CHAT) == LLAMA3_PROMPT
    prompt = chat(LLAMA3, [ASK, CALL, RESULT], tools=TOOLS)
    assert prompt.endswith(
        'assistant<|end_header_id|>\n\n{"name": "weather", "parameters": {"city": "Róma"}}<|eot_id|>'
        "<|start_header_id|>ipython<|end_header_id|>\n\n22<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert "Environment: ipython" in prompt
    with pytest.raises(Refused, match="single tool-calls"):
        chat(LLAMA3, [ASK, {**CALL, "tool_calls": CALL["tool_calls"] * 2}])


def test_mistral() -> None:
    assert chat(MISTRAL, [ASK]) == "<s>[INST]Rome?[/INST]"
    assert chat(MISTRAL, [ASK, CALL, RESULT], tools=TOOLS) == (
        f"<s>[AVAILABLE_TOOLS][{TOOL}][/AVAILABLE_TOOLS][INST]Rome?[/INST]"
        '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Róma"}, "id": "call00000"}]</s>'
        '[TOOL_RESULTS]{"content": 22, "call_id": "call00000"}[/TOOL_RESULTS]'
    )
    with pytest.raises(Refused, match="must alternate"):
        chat(MISTRAL, [ASK, ASK])


def test_deepseek_r1() -> None:
    assert chat(DEEPSEEK, CHAT) == (
        "<s>Be brief.<｜User｜> Hi <｜Assistant｜>Hello!<｜end▁of▁sentence｜><｜User｜>Rome?<｜Assistant｜><think>\n"
    )
    assert chat(DEEPSEEK, [ASK, CALL, RESULT]) == (
        "<s><｜User｜>Rome?<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        '{"city": "Róma"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>22<｜tool▁output▁end｜><｜tool▁outputs▁end｜><｜Assistant｜><think>\n"
    )


def test_gemma() -> None:
    assert chat(GEMMA, [HI, HELLO, ASK]) == (
        "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nRome?<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(Refused, match="System role not supported"):
        chat(GEMMA, CHAT)
    assert chat(GEMMA, [ASK, CALL, RESULT, RESULT]) == (
        '<s><start_of_turn>user\nRome?<end_of_turn>\n<start_of_turn>model\n{"name": "weather", "arguments": '
        '{"city": "Róma"}}<end_of_turn>\n<start_of_turn>user\n22\n\n22<end_of_turn>\n<start_of_turn>model\n'
    )


def test_granite() -> None:
    prompt = chat(GRANITE, [ASK, CALL, RESULT], tools=TOOLS, think=True)
    assert prompt.startswith('<|start_of_role|>available_tools<|end_of_role|>[\n    {\n        "type": "function",\n')
    assert prompt.endswith(
        "<|start_of_role|>user<|end_of_role|>Rome?<|end_of_text|>\n"
        '<|start_of_role|>assistant<|end_of_role|>{"name": "weather", "arguments": {"city": "Róma"}}<|end_of_text|>\n'
        "<|start_of_role|>tool<|end_of_role|>22<|end_of_text|>\n"
        '<|start_of_role|>assistant {"thinking": true}<|end_of_role|>'
    )
    assert chat(GRANITE, [ASK], think=False).endswith("assistant<|end_of_role|>")
