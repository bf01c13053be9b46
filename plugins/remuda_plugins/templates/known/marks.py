"""The chat templates that models of the known families are published with, each with its family's name.

Only to be compared with: a mark is never rendered. Variants that differ by a few characters need no mark of their own.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MARKS", "SIGNS"]

_NO_PROMPT: Final = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
_ALTERNATE: Final = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
_EACH: Final = "{% for message in messages %}"

_CHATML: Final = (
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_CHATML_MARKS: Final = (
    _EACH + _CHATML,
    _NO_PROMPT + "{{ bos_token }}" + _EACH + _CHATML,
    _EACH
    + "{% if loop.first and messages[0]['role'] != 'system' %}"
    + "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    + _CHATML,
    "{% if messages[0]['role'] == 'user' or messages[0]['role'] == 'system' %}{{ bos_token }}{% endif %}"
    + _EACH
    + "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    + "{% elif messages[-1]['role'] == 'assistant' %}{{ eos_token }}{% endif %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = 'You are a helpful assistant.' %}{% endif %}"
    + _NO_PROMPT
    + "{% for message in loop_messages %}{% if loop.index0 == 0 %}"
    + "{{'<|im_start|>system\\n' + system_message + '<|im_end|>\\n'}}{% endif %}"
    + _CHATML,
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% endif %}"
    "{% if system_message is defined %}{{ system_message }}{% endif %}"
    + _EACH
    + "{% set content = message['content'] %}{% if message['role'] == 'user' %}"
    + "{{ '<|im_start|>user\\n' + content + '<|im_end|>\\n<|im_start|>assistant\\n' }}"
    + "{% elif message['role'] == 'assistant' %}{{ content + '<|im_end|>' + '\\n' }}{% endif %}{% endfor %}",
    (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|im_start|>user\n' + message['content'] + '<|im_end|>' }}\n"
        "{% elif message['role'] == 'system' %}\n"
        "{{ '<|im_start|>system\n' + message['content'] + '<|im_end|>' }}\n"
        "{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|im_start|>assistant\n'  + message['content'] + '<|im_end|>' }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|im_start|>assistant' }}\n{% endif %}\n{% endfor %}"
    ),
)

_ZEPHYR_MARKS: Final = (
    (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
        "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    ),
    (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    ),
)

_PHI_MARKS: Final = (
    (
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
        "{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}"
        "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\\n'}}{% endif %}{% endfor %}"
    ),
    (
        "{{ bos_token }}{% for message in messages %}"
        "{{'<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    (
        "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
        "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
        "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
)

_MISTRAL: Final = (
    "{{ bos_token }}" + _EACH + _ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token}}{% else %}"
    "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

_LLAMA2: Final = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    + _ALTERNATE
    + "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)

_CODELLAMA: Final = (
    "{% if messages[0]['role'] == 'system' %}{% set user_index = 1 %}{% else %}{% set user_index = 0 %}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != ((loop.index0 + user_index) % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 %}{{ '<s>' }}{% endif %}"
    "{% set content = 'Source: ' + message['role'] + '\\n\\n ' + message['content'] | trim %}"
    "{{ content + ' <step> ' }}{% endfor %}{{'Source: assistant\\nDestination: user\\n\\n '}}"
)

_LLAMA3: Final = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

_GEMMA: Final = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + _EACH + _ALTERNATE + "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)

_GEMMA3: Final = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""

_COMMAND_R: Final = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% elif false == true %}{% set loop_messages = messages %}"
    "{% set system_message = 'You are Command-R, a brilliant, sophisticated, AI-assistant trained to assist human"
    " users by providing thorough responses. You are trained by Cohere.' %}{% else %}"
    "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% if system_message != false %}"
    "{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + '<|END_OF_TURN_TOKEN|>' }}{% endif %}"
    "{% for message in loop_messages %}"
    + _ALTERNATE
    + "{% set content = message['content'] %}{% if message['role'] == 'user' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)


def _coder(before: str, instruction: str, response: str) -> str:
    """The form that several models for code share."""
    return (
        "{{bos_token}}{{'" + before + "\\n\\n'}}\n{%- for message in messages %}\n"
        "    {%- if message['role'] == 'system' %}\n"
        "        {{ raise_exception('System messages are not allowed in this template.') }}\n    {%- else %}\n"
        "        {%- if message['role'] == 'user' %}\n{{'" + instruction + "\\n' + message['content'] + '\\n\\n'}}\n"
        "        {%- else %}\n{{'" + response + "\\n' + message['content'] + eos_token + '\\n\\n'}}\n"
        "        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n{{'" + response + "\\n'}}"
    )


_CAREFUL: Final = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
    "responses to user instructions."
)

_DEEPSEEK_CODER: Final = (
    "{% if not add_generation_prompt is defined %}\n{% set add_generation_prompt = false %}\n{% endif %}\n"
    "{%- set ns = namespace(found=false) -%}\n{%- for message in messages -%}\n"
    "    {%- if message['role'] == 'system' -%}\n        {%- set ns.found = true -%}\n    {%- endif -%}\n"
    "{%- endfor -%}\n{{bos_token}}{%- if not ns.found -%}\n"
    "{{'You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek Company, and"
    " you only answer questions related to computer science. For politically sensitive questions, security and"
    " privacy issues, and other non-computer science questions, you will refuse to answer\\n'}}\n{%- endif %}\n"
    "{%- for message in messages %}\n    {%- if message['role'] == 'system' %}\n{{ message['content'] }}\n"
    "    {%- else %}\n        {%- if message['role'] == 'user' %}\n"
    "{{'### Instruction:\\n' + message['content'] + '\\n'}}\n        {%- else %}\n"
    "{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}\n        {%- endif %}\n    {%- endif %}\n"
    "{%- endfor %}\n{% if add_generation_prompt %}\n{{'### Response:'}}\n{% endif %}"
)

_DEEPSEEK_CHAT: Final = (
    _NO_PROMPT + "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'User: ' + message['content'] + '\\n\\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}"
    "{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

_FALCON: Final = (
    "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
    "{% if message['role'] == 'system' %}{{ 'System: ' }}{% elif message['role'] == 'user' %}{{ 'User: ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' }}{% endif %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n' + 'Falcon:' }}{% endif %}"
)

_GRANITE: Final = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ 'Question:\n' + message['content'] + '\n\n' }}{% elif message['role'] == 'system' %}\n"
    "{{ 'System:\n' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ 'Answer:\n'  + message['content'] + '\n\n' }}{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ 'Answer:\n' }}{% endif %}{% endfor %}"
)

_OPENCHAT: Final = (
    "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role'].title() + ': '"
    " + message['content'] + '<|end_of_turn|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)

_SOLAR: Final = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{% if message['content']%}"
    "{{'### System:\\n' + message['content']+'\\n\\n'}}{% endif %}{% elif message['role'] == 'user' %}"
    "{{'### User:\\n' + message['content']+'\\n\\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'### Assistant:\\n'  + message['content']}}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '### Assistant:\\n' }}{% endif %}{% endfor %}"
)

_VICUNA: Final = (
    "{%- for message in messages %}{%- if message['role'] == 'system' -%}{{- '' + message['content'] + '\n\n' -}}"
    "{%- else -%}{%- if message['role'] == 'user' -%}{{-'USER: ' + message['content'] + '\n'-}}{%- else -%}"
    "{{-'ASSISTANT: ' + message['content'] + '</s>\n' -}}{%- endif -%}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{-'ASSISTANT:'-}}{%- endif -%}"
)

_ALFRED: Final = (
    "{% for message in messages %}{{ '<start_' + message['role'] + '>' + message['content'] + '<end_message>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_assistant>' }}{% endif %}"
)

MARKS: Final[tuple[tuple[str, str], ...]] = (
    *((mark, "chatml") for mark in _CHATML_MARKS),
    *((mark, "zephyr") for mark in _ZEPHYR_MARKS),
    *((mark, "phi-3") for mark in _PHI_MARKS),
    (_MISTRAL, "mistral-instruct"),
    (_LLAMA2, "llama2-chat"),
    (_CODELLAMA, "codellama-70b-instruct"),
    (_LLAMA3, "llama3-instruct"),
    (_GEMMA, "gemma-instruct"),
    (_GEMMA3, "gemma3-instruct"),
    (_COMMAND_R, "command-r"),
    (_coder(_CAREFUL, "@@ Instruction", "@@ Response"), "magicoder"),
    (_coder(_CAREFUL, "### Instruction", "### Response"), "starcoder2-instruct"),
    (_DEEPSEEK_CODER, "alpaca"),
    (_DEEPSEEK_CHAT, "chatqa"),
    (_FALCON, "falcon-instruct"),
    (_GRANITE, "granite-instruct"),
    (_OPENCHAT, "openchat"),
    (_SOLAR, "solar-instruct"),
    (_VICUNA, "vicuna"),
    (_ALFRED, "alfred"),
)
"""The text of a template and the name of its family."""

SIGNS: Final = {
    "alfred": "<end_message>",
    "alpaca": "### Instruction",
    "chatml": "<|im_start|>",
    "chatqa": "Assistant:",
    "codellama-70b-instruct": "<step>",
    "command-r": "<|START_OF_TURN_TOKEN|>",
    "falcon-instruct": "User: ",
    "gemma-instruct": "<start_of_turn>",
    "gemma3-instruct": "<start_of_turn>",
    "granite-instruct": "Answer:",
    "llama2-chat": "<<SYS>>",
    "llama3-instruct": "<|start_header_id|>",
    "magicoder": "@@ Instruction",
    "mistral-instruct": "[INST]",
    "openchat": "GPT4 Correct",
    "phi-3": "<|end|>",
    "solar-instruct": "### User",
    "starcoder2-instruct": "### Instruction",
    "vicuna": "USER:",
    "zephyr": "<|user|>",
}
"""What no template of the family is without."""
