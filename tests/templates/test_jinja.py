"""The Jinja engine's environment and what it makes of a conversation."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from remuda_plugins.templates.jinja_render import Refused, render

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DUMP = "{# tools, tool_calls #}{{ messages | tojson }}"
CALL = {"id": "call_abcdefgh", "function": {"index": 0, "name": "sum", "arguments": {"b": 1, "a": "<é>"}}}


def shown(template: str, **canonical: Any) -> Any:
    """The messages as the template sees them."""
    return json.loads(render(template, canonical))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("  {% if true %}\nx\n  {% endif %}", "x\n"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ {'b': 'é', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}", '{"a": 1, "b": "\\u00e9"}'),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ [{'a': 1}, {'a': 2}] | map(attribute='a') | tojson }}", "[1, 2]"),
        ("{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% generation %}a{{ 1 }}{% endgeneration %}b", "a1b"),
        ("{% set n = namespace(x=1) %}{% for i in [1] %}{% set n.x = 2 %}{% endfor %}{{ n.x }}", "2"),
        ("{% set l = [] %}{% if l.append(1) %}{% endif %}{{ l }}{{ l.pop() }}", "[1]1"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{{ missing }}|{{ missing is defined }}|{{ date_string is defined }}", "|False|False"),
        ("{{ tools is none }}{{ documents is none }}", "TrueTrue"),
        ("{{ tools is defined }}{% for t in tools %}{% endfor %}", "False"),
        ("{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}", "<s>||True"),
    ],
)
def test_the_environment_published_templates_expect(template: str, expected: str) -> None:
    assert render(template, {"messages": [], "bos_token": "<s>"}) == expected


def test_strftime_now_knows_todays_date() -> None:
    before = datetime.now(UTC).astimezone().strftime("%Y-%m-%d")
    got = render("{{ strftime_now('%Y-%m-%d') }}", {})
    assert got in {before, datetime.now(UTC).astimezone().strftime("%Y-%m-%d")}


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (None, "FalseFalse"),
        (True, "TrueFalse"),
        (False, "FalseFalse"),
        ("low", "Truelow"),
        ("max", "Truemax"),
    ],
)
def test_thinking_goes_by_the_names_that_templates_know(think: bool | str | None, expected: str) -> None:
    template = "{{ enable_thinking | default(false) }}{{ reasoning_effort | default(false) }}"
    assert render(template, {"messages": []} | ({} if think is None else {"think": think})) == expected


def test_a_harmony_template_knows_no_effort_above_high() -> None:
    assert render("{# <|channel|> #}{{ reasoning_effort }}", {"messages": [], "think": "max"}) == "high"


def test_text_of_a_client_is_no_template() -> None:
    messages = [{"role": "user", "content": "hé {{ x }}"}]
    assert render(CHATML, {"messages": messages}) == "<|im_start|>user\nhé {{ x }}<|im_end|>\n<|im_start|>assistant\n"


def test_messages_have_the_shape_of_published_templates() -> None:
    messages = [
        {"role": "user", "content": "[img-0]1+1?", "images": 1},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "2", "tool_name": "sum"},
    ]
    arguments = {"b": 1, "a": "<é>"}
    assert shown(DUMP, messages=messages) == [
        {"role": "user", "content": "[img-0]1+1?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "thinking": "hm",
            "tool_calls": [
                {"type": "function", "id": "call_abcdefgh", "function": {"name": "sum", "arguments": arguments}}
            ],
        },
        {"role": "tool", "content": "2", "name": "sum", "tool_call_id": "call_abcdefgh"},
    ]


def test_tools_have_all_the_keys_that_templates_look_for() -> None:
    tool = {"function": {"name": "f", "description": "", "parameters": {"required": ["a"]}}}
    assert json.loads(render("{{ tools | tojson }}", {"messages": [], "tools": [tool]})) == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "",
                "parameters": {"type": "object", "properties": {}, "required": ["a"]},
            },
        }
    ]


@pytest.mark.parametrize(
    "expression",
    ["'' + call.arguments + ''", "call.arguments", "call.arguments ~ ''", "call.arguments | tojson"],
)
def test_arguments_are_an_object_and_its_json(expression: str) -> None:
    template = (
        "{# tool_calls #}{% for call in messages[0].tool_calls | map(attribute='function') %}"
        "{{ call.arguments is mapping }}{{ call.arguments.b }}{{ " + expression + " }}{% endfor %}"
    )
    messages = [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert render(template, {"messages": messages}) == 'True1{"b": 1, "a": "<é>"}'


def test_every_call_gets_an_id_and_every_result_the_id_of_its_call() -> None:
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "c")]
    results = [{"role": "tool", "content": name, "tool_name": name} for name in ("b", "a")]
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *results,
        {"role": "tool", "content": "?"},
    ]
    got = shown(DUMP, messages=messages)
    assert [call["id"] for call in got[1]["tool_calls"]] == ["call00000", "call00001", "call00002"]
    assert [(result["name"], result["tool_call_id"]) for result in got[2:]] == [
        ("b", "call00001"),
        ("a", "call00000"),
        ("c", "call00002"),
    ]


def test_ids_are_nine_characters_where_a_template_insists() -> None:
    template = "{# tools #}{% if messages[0].tool_calls[0].id | length != 9 %}{% endif %}{{ messages | tojson }}"
    good = {"id": "aBcDeFgH1", "function": {"name": "f", "arguments": {}}}
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [CALL, good]},
        {"role": "tool", "content": "1", "tool_call_id": "call_abcdefgh"},
        {"role": "tool", "content": "2", "tool_call_id": "aBcDeFgH1"},
    ]
    got = shown(template, messages=messages)
    ids = [call["id"] for call in got[0]["tool_calls"]]
    assert ids == ["call00000", "aBcDeFgH1"]
    assert [result["tool_call_id"] for result in got[1:]] == ids


def test_without_a_notion_of_tools_calls_are_text_and_results_messages() -> None:
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "Wait.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "2"},
    ]
    line = '{"name": "sum", "arguments": {"b": 1, "a": "<é>"}}'
    assert render(CHATML, {"messages": messages}) == (
        f"<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\nWait.\n{line}\n{line}<|im_end|>\n"
        "<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n"
    )


def test_results_are_the_users_words_where_a_template_knows_no_other_role() -> None:
    template = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role }}: {{ m.content }};{% endfor %}"
    )
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "user", "content": "so?"},
    ]
    assert render(template, {"messages": messages}) == (
        'user: ?;assistant: {"name": "f", "arguments": {}};user: 1\n\n2\n\nso?;'
    )


def test_a_template_that_takes_only_parts_gets_parts() -> None:
    template = (
        "{% for m in messages %}{% for part in m['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    assert render(template, {"messages": [{"role": "user", "content": "[img-0]hi"}]}) == "[img-0]hi"


def test_a_template_that_takes_both_gets_text() -> None:
    template = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for part in m.content %}no{% endfor %}{% endif %}{% endfor %}"
    )
    assert render(template, {"messages": [{"role": "user", "content": "hi"}]}) == "hi"


def test_a_template_that_knows_calls_by_their_missing_content_finds_none() -> None:
    template = (
        "{# tools #}{% for message in messages %}"
        "{% if message['role'] == 'assistant' and message['content'] is none %}"
        "{{ message['tool_calls'][0]['function']['name'] }}{% endif %}{% endfor %}"
    )
    messages = [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert render(template, {"messages": messages}) == "sum"


THINKS = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}") + "{# </think> #}"


@pytest.mark.parametrize(
    ("template", "last", "end"),
    [
        (CHATML, {"content": "Sure, "}, "<|im_start|>assistant\nSure, "),
        (CHATML, {"content": "Sure", "thinking": "hm"}, "<|im_start|>assistant\nSure"),
        (THINKS, {"content": "Sure"}, "<|im_start|>assistant\n<think>\n\n</think>\n\nSure"),
        (THINKS, {"content": "Sure", "thinking": "hm"}, "<|im_start|>assistant\n<think>\nhm\n</think>\n\nSure"),
        (THINKS, {"content": "", "thinking": "hm"}, "<|im_start|>assistant\n<think>\nhm"),
        (THINKS, {"content": "hm</think>Sure"}, "<|im_start|>assistant\n<think>\nhm</think>Sure"),
        (
            CHATML + "{# <think></think> #}",
            {"content": "Sure", "thinking": "hm"},
            "<|im_start|>assistant\n<think>\nhm\n</think>\n\nSure",
        ),
        (
            "{# <|channel|>analysis #}<|start|>assistant",
            {"content": "Sure", "thinking": "hm"},
            (
                "<|start|>assistant<|channel|>analysis<|message|>hm<|end|>"
                "<|start|>assistant<|channel|>final<|message|>Sure"
            ),
        ),
    ],
)
def test_a_last_message_of_the_assistant_begins_the_answer(template: str, last: dict[str, str], end: str) -> None:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", **last}]
    assert render(template, {"messages": messages}).removeprefix("<|im_start|>user\n?<|im_end|>\n") == end


def test_a_template_may_refuse_in_its_own_words() -> None:
    with pytest.raises(Refused, match="System role not supported"):
        render(
            "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
            {"messages": [{"role": "system", "content": "x"}]},
        )


def test_firefunctions_own_names_are_there() -> None:
    tool = {"function": {"name": "f"}}
    prompt = render("{{ datetime | length }} {{ functions }}", {"messages": [], "tools": [tool]})
    assert prompt.startswith("24 [")
    assert '"name": "f"' in prompt
