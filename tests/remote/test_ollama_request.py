"""A job as a request of the Ollama API: whoever reads that request makes the same job of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from msgspec import structs

from remuda.backend import EmbedJob
from remuda.errors import BadRequest
from remuda.job import Job, Message
from remuda.output import ToolCall
from remuda.wire import Options
from remuda_remote.ollama.request import embedding, encoded

from .ollama_jobs import job_of

GENERATE, CHAT = "/api/generate", "/api/chat"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0" + bytes(64)).decode()
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells it.",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string", "enum": ["Oslo", None]}, "days": {"type": ["integer", "null"]}},
        },
    },
}


def sent(job: Job, model: str = "m:latest") -> tuple[str, dict[str, Any]]:
    path, body = encoded(job, model, "box")
    return path, json.loads(body)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (GENERATE, {"prompt": "hi"}),
        (GENERATE, {"prompt": "hi", "system": "Be brief.", "images": [PNG, PNG]}),
        (GENERATE, {"prompt": "hi", "suffix": "b", "template": "{{ .Prompt }}", "context": [1, 2]}),
        (GENERATE, {"prompt": "<s>hi", "raw": True, "images": [PNG]}),
        (GENERATE, {"prompt": "hi", "think": False, "truncate": False, "shift": False, "format": "json"}),
        (GENERATE, {"prompt": "hi", "think": "low", "shift": True, "logprobs": True, "progress": True}),
        (GENERATE, {"prompt": "hi", "logprobs": True, "top_logprobs": 3, "_debug_render_only": True}),
        (GENERATE, {"prompt": "hi", "options": {"temperature": 0.7, "stop": ["a", "b"], "num_ctx": 64, "seed": 0}}),
        (GENERATE, {}),
        (GENERATE, {"keep_alive": 0}),
        (GENERATE, {"keep_alive": 90.5, "options": {"num_ctx": 64}}),
        (GENERATE, {"keep_alive": -1}),
        (CHAT, {"messages": HI}),
        (CHAT, {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "é", "images": [PNG]}]}),
        (CHAT, {"messages": HI, "tools": [WEATHER], "format": {"type": "object", "a": [1]}, "think": True}),
        (CHAT, {"messages": HI, "tools": [WEATHER], "tool_choice": "required"}),
        (
            CHAT,
            {
                "messages": [
                    *HI,
                    {
                        "role": "assistant",
                        "content": "",
                        "thinking": "hm",
                        "tool_calls": [
                            {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"b": 1, "a": None}}},
                            {"function": {"index": 1, "name": "g", "arguments": {}}},
                        ],
                    },
                    {"role": "tool", "content": "rain", "tool_name": "f", "tool_call_id": "call_1"},
                ]
            },
        ),
        (CHAT, {}),
        (CHAT, {"keep_alive": 0}),
    ],
)
def test_nothing_is_sent_but_what_the_request_said(path: str, fields: dict[str, Any]) -> None:
    assert sent(job_of(path, {"model": "m", **fields})) == (path, {"model": "m:latest", "stream": True, **fields})


def test_what_is_sent_in_other_words() -> None:
    asked = {"model": "m", "messages": HI, "tools": [WEATHER], "tool_choice": "get_weather", "keep_alive": "5m"}
    _, body = sent(job_of(CHAT, {**asked, "stream": False, "options": {"max_tokens": 3, "unknown": 1, "top_k": None}}))
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert (body["keep_alive"], body["options"], body["stream"]) == (300, {"num_predict": 3}, True)
    _, body = sent(job_of(CHAT, {**asked, "tool_choice": "none", "keep_alive": "-1h"}))
    assert "tools" not in body
    assert "tool_choice" not in body
    assert body["keep_alive"] == -1
    untyped = {"function": {"name": "f"}}
    _, body = sent(job_of(CHAT, {**asked, "tools": [untyped], "tool_choice": None}))
    assert body["tools"][0]["type"] == "function"


texts = st.text(max_size=8)
maybe = st.none() | st.booleans()
_call = {"id": texts, "function": st.fixed_dictionaries({"name": texts, "arguments": st.dictionaries(texts, texts)})}
_turn = {
    "role": st.sampled_from(["system", "user", "assistant", "tool", "Odd", ""]),
    "content": texts,
    "thinking": texts,
    "images": st.sampled_from([None, [], [PNG]]),
    "tool_calls": st.none() | st.lists(st.fixed_dictionaries(_call), max_size=2),
    "tool_name": texts,
    "tool_call_id": texts,
}
_options = {
    "temperature": st.floats(0, 2),
    "num_predict": st.integers(-2, 9),
    "stop": st.lists(texts, max_size=2),
    "use_mmap": maybe,
}
_common = {
    "think": maybe | st.just("high"),
    "truncate": maybe,
    "shift": maybe,
    "logprobs": maybe,
    "top_logprobs": st.integers(0, 20),
    "format": st.sampled_from([None, "", "json", {}, {"type": "object"}]),
    "keep_alive": st.sampled_from([None, 0, -1, "300ms", "1h", "0", 1e300]),
    "options": st.fixed_dictionaries({}, optional=_options),
    "progress": maybe,
    "_debug_render_only": maybe,
}
_generate = {
    "prompt": texts,
    "system": texts,
    "template": texts,
    "suffix": texts,
    "context": st.lists(st.integers(0, 9)),
}
_raw = {"raw": st.just(True), "prompt": texts, "images": st.sampled_from([None, [PNG]])}
_chat = {
    "messages": st.lists(st.fixed_dictionaries({}, optional=_turn), max_size=3),
    "tools": st.sampled_from([None, [], [WEATHER]]),
}
requests = st.one_of(
    st.tuples(st.just(GENERATE), st.fixed_dictionaries({}, optional={**_common, **_generate})),
    st.tuples(st.just(GENERATE), st.fixed_dictionaries(_raw, optional=_common)),
    st.tuples(st.just(CHAT), st.fixed_dictionaries({}, optional={**_common, **_chat})),
)


@settings(max_examples=50, deadline=None)
@given(requests)
def test_whoever_reads_it_makes_the_same_job(request: tuple[str, dict[str, Any]]) -> None:
    path, fields = request
    job = job_of(path, {"model": "m", **fields})
    assert job_of(*encoded(job, "m", "box")) == structs.replace(job, ignored_options=())


def changed(path: str, fields: dict[str, Any], **by_filter: Any) -> tuple[str, dict[str, Any]]:
    return sent(structs.replace(job_of(path, {"model": "m", **fields}), **by_filter))


def test_options_that_a_filter_changed() -> None:
    fields = {"messages": HI, "options": {"seed": 7, "num_predict": 5}}
    _, body = changed(CHAT, fields, options=Options(seed=7, num_predict=2, temperature=0.0))
    assert body["options"] == {"seed": 7, "num_predict": 2, "temperature": 0.0}


def test_a_question_that_a_filter_made_a_conversation() -> None:
    turns = [Message("user", "a"), Message("assistant", "b", tool_calls=(ToolCall(name="f", arguments={}),))]
    path, body = changed(GENERATE, {"prompt": "hi"}, messages=[*turns, Message("user", "hi")])
    assert path == CHAT
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    for field, value in (("suffix", "x"), ("template", "{{ .Prompt }}"), ("context", [1])):
        with pytest.raises(BadRequest, match=f"^upstream 'box' cannot do {field} with a conversation: it takes one "):
            changed(GENERATE, {"prompt": "hi", field: value}, messages=[*turns, Message("user", "hi")])


def test_tools_that_a_filter_gave_to_a_question() -> None:
    tools = job_of(CHAT, {"model": "m", "messages": HI, "tools": [WEATHER]}).tools
    path, body = changed(GENERATE, {"prompt": "hi", "system": "S"}, tools=tools)
    assert (path, len(body["messages"]), body["tools"]) == (CHAT, 2, [WEATHER])


@pytest.mark.parametrize(
    ("endpoint", "fields", "path"),
    [
        ("/v1/chat/completions", {}, CHAT),
        ("/v1/completions", {"prompt": "raw"}, GENERATE),
        ("/v1/completions", {"suffix": "after"}, GENERATE),
        ("/v1/messages", {"load_only": True, "messages": []}, CHAT),
    ],
)
def test_jobs_of_other_dialects(endpoint: str, fields: dict[str, Any], path: str) -> None:
    job = structs.replace(job_of(CHAT, {"model": "m", "messages": HI}), endpoint=endpoint, **fields)
    assert sent(job)[0] == path
    if fields.get("prompt"):
        assert sent(job)[1] == {"model": "m:latest", "stream": True, "prompt": "raw", "raw": True}


def test_what_can_hardly_be_read_and_not_be_written() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"a": schema}
    with pytest.raises(BadRequest, match="nested too deeply"):
        changed(CHAT, {"messages": HI}, format=schema)


def test_texts_to_be_made_vectors() -> None:
    job = EmbedJob(inputs=["a", ""], limit=0)
    assert msgspec.json.decode(embedding(job, "m", {}, None)) == {"model": "m", "input": ["a", ""]}
    whole = embedding(structs.replace(job, inputs=[], truncate=False), "m", {"num_ctx": 8}, float("inf"))
    asked = {"model": "m", "input": [], "truncate": False, "options": {"num_ctx": 8}, "keep_alive": -1}
    assert msgspec.json.decode(whole) == asked
