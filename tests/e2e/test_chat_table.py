"""`POST /api/chat`, field by field and message by message: types, defaults, errors, effects (Ollama API, "Chat")."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest

from .conftest import DEMO
from .tables import CALLS, JSON, METRICS, Table, settled
from .test_generate_table import BAD_THINK, NO_THINK, PNG

ENDPOINT = "/api/chat"
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"]}},
            "required": ["city"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
CALL = {"function": {"name": "get_weather", "arguments": {"city": "Oslo", "days": None}}}


def _tool(**function: Any) -> list[Any]:
    return [{"type": "function", "function": {"name": "f", **function}}]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model", 5, "$.model"),
        ("messages", "hi", "$.messages"),
        ("messages", {}, "$.messages"),
        ("messages", ["hi"], "$.messages[0]"),
        ("messages", [{"role": 5}], "$.messages[0].role"),
        ("messages", [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "$.messages[0].content"),
        ("messages", [{"role": "user", "content": 5}], "$.messages[0].content"),
        ("messages", [{"role": "assistant", "thinking": True}], "$.messages[0].thinking"),
        ("messages", [{"role": "user", "images": PNG}], "$.messages[0].images"),
        ("messages", [{"role": "user", "images": ["@"]}], "illegal base64 data at input byte 0"),
        ("messages", [{"role": "user", "images": [PNG] * 33}] * 2, "messages hold 66 images; at most 64 are allowed"),
        ("messages", [{"role": "user", "images": [PNG]}], "/plain:latest does not support vision"),
        ("messages", [{"role": "assistant", "tool_calls": CALL}], "$.messages[0].tool_calls"),
        ("messages", [{"role": "assistant", "tool_calls": [{}]}], "`function`"),
        (
            "messages",
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}],
            "$.messages[0].tool_calls[0].function.arguments",
        ),
        ("messages", [{"role": "tool", "tool_name": 5}], "$.messages[0].tool_name"),
        ("messages", [{"role": "tool", "tool_call_id": 5}], "$.messages[0].tool_call_id"),
        ("stream", "yes", "$.stream"),
        ("format", "xml", r'invalid format: "\"xml\""; expected "json" or a valid JSON Schema object'),
        ("format", 5, 'invalid format: "5"; expected "json" or a valid JSON Schema object'),
        ("keep_alive", True, "Unsupported type: 'bool'"),
        ("keep_alive", "soon", 'time: invalid duration "soon"'),
        ("tools", {}, "tools: Expected `array`"),
        ("tools", ["get_weather"], "tools: Expected `object`"),
        ("tools", _tool(name=5), "$[0].function.name"),
        ("tools", _tool(parameters=[]), "$[0].function.parameters"),
        ("tools", _tool(parameters={"properties": {"x": "string"}}), "$[0].function.parameters.properties[...]"),
        ("tools", _tool(parameters={"required": "x"}), "$[0].function.parameters.required"),
        ("tools", [WEATHER], "registry.ollama.ai/library/plain:latest does not support tools"),
        ("tool_choice", "required", "invalid tool_choice"),
        ("tool_choice", "get_weather", "the name of a tool of this request (none)"),
        ("options", [], "$.options"),
        ("options", {"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ("options", {"tool_choice": 5}, "invalid tool_choice"),
        ("think", 5, NO_THINK),
        ("think", "hard", BAD_THINK),
        ("think", True, '"plain" does not support thinking'),
        ("truncate", "yes", "$.truncate"),
        ("shift", 0, "$.shift"),
        ("_debug_render_only", "yes", "$._debug_render_only"),
        ("logprobs", 1, "$.logprobs"),
        ("top_logprobs", 1.5, "$.top_logprobs"),
        ("top_logprobs", 21, "top_logprobs must be between 0 and 20"),
        ("top_logprobs", -1, "top_logprobs must be between 0 and 20"),
    ],
)
def test_a_field_of_the_wrong_type_or_value_is_named(table: Table, field: str, value: Any, words: str) -> None:
    reply = table.post({"model": "plain", "messages": HI, field: value})
    assert (reply.status_code, reply.headers["content-type"]) == (400, JSON)
    assert list(reply.json()) == ["error"]
    assert words in reply.json()["error"]


FIELDS = [
    *("stream", "format", "keep_alive", "tools", "tool_choice", "options", "think", "truncate", "shift"),
    *("_debug_render_only", "logprobs", "top_logprobs"),
]


@pytest.mark.parametrize("field", FIELDS)
def test_null_is_absent(table: Table, field: str) -> None:
    lines = table.lines(model="opened", messages=HI, **{field: None})
    assert list(map(settled, lines)) == list(map(settled, table.lines(model="opened", messages=HI)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("stream", True), ("format", ""), ("tools", []), ("tool_choice", "auto"), ("tool_choice", "none")),
        *(("options", {}), ("think", False), ("truncate", True), ("shift", True), ("_debug_render_only", False)),
        *(("logprobs", False), ("top_logprobs", 0), ("unknown", 5)),
    ],
)
def test_a_field_left_out_is_its_default(table: Table, field: str, value: Any) -> None:
    found = table.lines(model="plain", messages=HI, **{field: value})
    assert list(map(settled, found)) == list(map(settled, table.lines(model="plain", messages=HI)))


@pytest.mark.parametrize(
    ("message", "rendered"),
    [
        ({"role": "USER", "content": "hi"}, "user:hi|"),
        ({"role": "Assistant", "content": "hi"}, "assistant:hi|"),
        ({"role": "odd", "content": "hi"}, "odd:hi|"),
        ({"content": "hi"}, ":hi|"),
        ({"role": "user"}, "user:|"),
        ({"role": "user", "content": None, "thinking": None, "images": None, "tool_calls": None}, "user:|"),
        ({"role": "user", "content": "hi", "name": "bob", "refusal": None}, "user:hi|"),
        ({"role": "assistant", "tool_calls": [CALL]}, "assistant:|"),
        (
            {"role": "assistant", "tool_calls": [{"id": None, "function": {"name": "f", "arguments": None}}]},
            "assistant:|",
        ),
        ({"role": "tool", "content": "rain", "tool_name": "f", "tool_call_id": "call_1"}, "tool:rain|"),
    ],
)
def test_a_message_and_what_the_template_sees_of_it(table: Table, message: dict[str, Any], rendered: str) -> None:
    assert table.prompt(model="plain", messages=[message]) == f"{rendered}A:"


def test_the_system_message_of_the_model_comes_first_unless_the_request_begins_with_one(table: Table) -> None:
    own, talk = {"role": "system", "content": "Own."}, "user:hey|assistant:ho|"
    assert table.prompt(model="opened", messages=HI) == f"system:Be brief.|{talk}user:hi|A:"
    assert table.prompt(model="opened", messages=[own, *HI]) == f"{talk}system:Own.|user:hi|A:"
    assert table.prompt(model="opened", messages=[*HI, own]) == f"system:Be brief.|{talk}user:hi|system:Own.|A:"


def test_messages_of_one_role_in_a_row_are_one(table: Table) -> None:
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert table.prompt(model="plain", messages=twice) == "user:a\n\nb|A:"
    results = [{"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}]
    assert table.prompt(model="plain", messages=results) == "tool:a|tool:b|A:"


def test_a_model_without_any_template_still_talks(table: Table) -> None:
    assert table.prompt(model="bare", messages=HI) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_thinking_is_told_apart_and_given_back(table: Table) -> None:
    for think in ({}, {"think": True}, {"think": "low"}):
        whole = table.whole(model="thinker", messages=HI, **think)
        assert whole["message"] == {"role": "assistant", "content": "yes sir", "thinking": "hm hm"}
        parts = [line["message"] for line in table.lines(model="thinker", messages=HI, **think)]
        assert [(part.get("thinking", ""), part["content"]) for part in parts] == [
            *(("hm", ""), (" hm", ""), ("", "yes"), ("", " sir"), ("", "")),
        ]
    plain = table.whole(model="thinker", messages=HI, think=False)["message"]
    assert plain == {"role": "assistant", "content": "<think>hm hm</think>\n\nyes sir"}
    past = [*HI, {"role": "assistant", "content": "a", "thinking": "b"}, *HI]
    assert table.prompt(model="thinker", messages=past) == "user:hi|assistant:<think>b</think>a|user:hi|A:"


def test_tools_go_in_and_calls_come_out(table: Table) -> None:
    asked = {"role": "assistant", "content": "", "tool_calls": [CALL, {"function": {"name": "get_time"}}]}
    result = {"role": "tool", "content": "rain", "tool_name": "get_weather"}
    prompt = table.prompt(model="caller", messages=[*HI, asked, result], tools=[WEATHER, TIME])
    assert prompt == (
        "get_weather|get_time|user:hi|assistant:<tool_call>"
        '{"name": "get_weather", "arguments": {"city":"Oslo","days":null}}'
        '{"name": "get_time", "arguments": {}}</tool_call>|tool:rain|A:'
    )
    lines = table.lines(model="caller", messages=HI, tools=[WEATHER, TIME])
    whole = table.whole(model="caller", messages=HI, tools=[WEATHER, TIME])
    parts = [line["message"] for line in lines]
    found = [call for part in parts for call in part.get("tool_calls", [])]
    for calls in (found, whole["message"]["tool_calls"]):
        assert all(re.fullmatch(r"call_[a-z0-9]{8}", call["id"]) for call in calls)
        assert [list(call) for call in calls] == [["id", "function"]] * 2
        assert [json.dumps(call["function"]) for call in calls] == [
            '{"index": 0, "name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}',
            '{"index": 1, "name": "get_time", "arguments": {}}',
        ]
    assert all(part["content"] == "" for part in parts if "tool_calls" in part)
    assert "tool_calls" not in parts[-1]
    assert lines[-1]["done_reason"] == whole["done_reason"] == "stop"
    assert whole["message"]["content"].strip() == "Let me see."
    for none in ({}, {"tools": []}, {"tools": [WEATHER], "tool_choice": "none"}):
        assert table.whole(model="caller", messages=HI, **none)["message"]["content"] == f"Let me see.{''.join(CALLS)}"


def test_all_that_a_model_cannot_do_is_told_line_by_line(table: Table) -> None:
    text = table.refused(model="plain", messages=[{"role": "user", "images": [PNG]}], tools=[WEATHER])
    assert text.split("\n") == [
        "registry.ollama.ai/library/plain:latest does not support tools",
        "registry.ollama.ai/library/plain:latest does not support vision",
    ]


def test_null_inside_a_tool_is_absent(table: Table) -> None:
    property = {"type": "string", "description": None, "enum": None, "items": None}
    parameters = {"type": "object", "required": None, "properties": {"x": property}, "$defs": None}
    tools = [{"type": None, "function": {"name": "f", "description": None, "parameters": parameters}}]
    assert table.prompt(model="caller", messages=HI, tools=tools) == "f|user:hi|A:"


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"messages": 5}, "$.messages"),
    ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
    ({"model": ""}, "model is required"),
    ({"model": "nope"}, "model 'nope' not found"),
    ({"think": True}, '"plain" does not support thinking'),
    ({"tools": [WEATHER]}, "does not support tools"),
]


@pytest.mark.parametrize(("first", "second"), [*combinations(FAULTS, 2)])
def test_of_two_faults_the_first_in_the_protocols_order_is_told(
    table: Table, first: tuple[dict[str, Any], str], second: tuple[dict[str, Any], str]
) -> None:
    (fault, words), (other, _) = first, second
    body = {"model": "plain", "messages": HI, **other, **fault}
    assert words in table.refused(404 if "not found" in words else 400, **body)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        *(({}, "load"), ({"messages": []}, "load"), ({"messages": None, "stream": True}, "load")),
        *(({"_debug_render_only": True}, "load"), ({"keep_alive": "1m"}, "load"), ({"keep_alive": -1}, "load")),
        *(({"keep_alive": 0}, "unload"), ({"messages": [], "keep_alive": "0"}, "unload")),
        *(({"keep_alive": 0, "stream": True}, "unload"), ({"keep_alive": 0, "options": {"top_k": "x"}}, "unload")),
    ],
)
def test_without_messages_a_model_is_loaded_or_unloaded(table: Table, fields: dict[str, Any], reason: str) -> None:
    for _ in range(2):
        reply = table.post({"model": "plain", **fields})
        assert (reply.status_code, reply.headers["content-type"]) == (200, JSON)
        assert list(reply.json()) == ["model", "created_at", "message", "done", "done_reason"]
        message = {"role": "assistant", "content": ""}
        assert settled(reply.json()) == {"model": "plain", "message": message, "done": True, "done_reason": reason}
        assert ("plain:latest" in table.loaded()) == (reason == "load")


def test_an_embedding_model_does_not_chat(table: Table) -> None:
    for fields in ({"messages": HI}, {}, {"messages": HI, "tools": [WEATHER]}):
        assert table.refused(model="embedder", **fields) == '"embedder" does not support chat'
    assert table.whole(model="embedder", keep_alive=0)["done_reason"] == "unload"


def test_debug_render_only_shows_the_prompt(table: Table, demo: Table) -> None:
    shown = table.whole(model="plain", messages=HI, _debug_render_only=True, stream=True)
    assert list(shown) == ["model", "created_at", "message", "done", "_debug_info"]
    assert (shown["message"], shown["done"]) == ({"role": "", "content": ""}, False)
    assert shown["_debug_info"] == {"rendered_template": "user:hi|A:"}
    assert demo.prompt(model=DEMO, messages=[{"role": "system", "content": "S"}, *HI]) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("model", ["plain", "thinker", "caller", "tiny"])
def test_the_lines_of_a_stream(table: Table, model: str) -> None:
    lines = table.lines(model=model, messages=HI, options={"num_predict": 8, "temperature": 0})
    assert {line["message"]["role"] for line in lines} == {"assistant"}
    assert {line["model"] for line in lines} == {model}
    assert [list(line) for line in lines[:-1]] == [["model", "created_at", "message", "done"]] * (len(lines) - 1)
    last = lines[-1]
    assert list(last) == ["model", "created_at", "message", "done", "done_reason", *METRICS]
    assert last["message"] == {"role": "assistant", "content": ""}
    assert all(isinstance(last[metric], int) and last[metric] > 0 for metric in METRICS)


def test_the_demo_model_talks(demo: Table) -> None:
    fields = {"model": DEMO, "options": {"temperature": 0, "num_predict": 24}, "logprobs": True, "top_logprobs": 2}
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    whole = demo.whole(messages=messages, **fields)
    assert "light" in whole["message"]["content"]
    lines = demo.lines(messages=messages, **fields)
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    told = [each for line in lines for each in line.get("logprobs", [])]
    assert told == whole["logprobs"]
    assert len(told) == whole["eval_count"]
    assert {len(each["top_logprobs"]) for each in told} == {2}
    schema = {"type": "object", "properties": {"why": {"type": "string", "maxLength": 20}}, "required": ["why"]}
    formed = demo.whole(messages=messages, format=schema, **{**fields, "options": {"temperature": 0}})
    assert isinstance(json.loads(formed["message"]["content"])["why"], str)
