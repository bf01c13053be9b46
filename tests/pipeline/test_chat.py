"""Conversations with a scripted engine: what reaches the template, what becomes of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from remuda.config import Config, MessageConfig
from remuda.errors import BadRequest, EngineError, ModelNotFound
from remuda.plugins import Plugins
from remuda.testing.scripted import Script
from remuda.wire import encode

from .asking import CALLER, PLAIN, THINKER, TIME, WEATHER, ask, chat, chat_stream, opened, rendered

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

Make = Callable[..., Config]
CALL = {"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}


def templated(config: Config, template: str, **fields: Any) -> Config:
    """`config` with `template` for all its models."""
    models = {
        name: structs.replace(model, template=template, template_engine="go", **fields)
        for name, model in config.models.items()
    }
    return structs.replace(config, models=models)


async def test_a_whole_answer_and_a_stream_say_the_same(scripted: Make, plugins: Plugins) -> None:
    async with opened(templated(scripted(m=Script(pieces=["a", "b"])), PLAIN), plugins) as pipeline:
        whole = await chat(pipeline, "hi")
        parts = await chat_stream(pipeline, "hi")
    assert [part.message.content for part in parts] == ["a", "b", ""]
    assert [part.done for part in parts] == [False, False, True]
    assert {part.message.role for part in parts} == {"assistant"}
    assert (whole.message.role, whole.message.content, whole.done_reason) == ("assistant", "ab", "stop")
    assert whole.eval_count == parts[-1].eval_count == 2
    assert whole.prompt_eval_count == len("user:hi|A:")
    assert b'"context"' not in encode(whole)


async def test_load_and_unload(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        assert (await chat(pipeline, keep_alive=0)).done_reason == "unload"
        assert (await pipeline.ps()).models == []
        loaded = await chat(pipeline)
        assert (loaded.done, loaded.done_reason, loaded.message.role, loaded.message.content) == (
            *(True, "load"),
            *("assistant", ""),
        )
        assert [model.name for model in (await pipeline.ps()).models] == ["m:latest"]
        assert (await chat(pipeline, keep_alive="0", messages=None)).done_reason == "unload"
        assert (await pipeline.ps()).models == []


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"model": ""}, BadRequest, "model is required"),
        ({"model": "nope"}, ModelNotFound, "model 'nope' not found"),
        ({"top_logprobs": 21, "model": "nope"}, BadRequest, "top_logprobs must be between 0 and 20"),
        ({"options": {"top_k": "x"}}, BadRequest, 'option "top_k" must be of type integer'),
        ({"format": []}, BadRequest, "invalid format"),
        ({"think": "high"}, BadRequest, '"m" does not support thinking'),
        ({"tools": [WEATHER]}, BadRequest, "registry.ollama.ai/library/m:latest does not support tools"),
        ({"tool_choice": "required"}, BadRequest, "invalid tool_choice"),
        ({"options": {"tool_choice": 3}}, BadRequest, "invalid tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "required", "format": "json"}, BadRequest, "exclude each other"),
    ],
)
async def test_what_cannot_be_served_is_refused_before_any_load(
    scripted: Make, plugins: Plugins, fields: dict[str, Any], error: type[Exception], word: str
) -> None:
    async with opened(templated(scripted(m=Script()), PLAIN), plugins) as pipeline:
        with pytest.raises(error) as caught:
            await chat(pipeline, "hi", **fields)
        assert word in str(caught.value)
        assert (await pipeline.ps()).models == []


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        (["hi"], "system:S|user:one|assistant:two|user:hi|A:"),
        ([{"role": "system", "content": "own"}, "hi"], "user:one|assistant:two|system:own|user:hi|A:"),
        (["hi", {"role": "system", "content": "late"}], "system:S|user:one|assistant:two|user:hi|system:late|A:"),
        ([{"role": "SYSTEM", "content": "own"}], "user:one|assistant:two|system:own|A:"),
        ([{"role": "Odd", "content": "x"}], "system:S|user:one|assistant:two|odd:x|A:"),
        ([{"role": "user"}], "system:S|user:one|assistant:two|user:|A:"),
    ],
)
async def test_the_models_own_words_come_first_unless_the_request_brings_a_system_message(
    scripted: Make, plugins: Plugins, messages: list[Any], prompt: str
) -> None:
    opening = (MessageConfig(role="user", content="one"), MessageConfig(role="assistant", content="two"))
    async with opened(templated(scripted(m=Script()), PLAIN, system="S", messages=opening), plugins) as pipeline:
        assert await rendered(pipeline, *messages) == prompt


async def test_thinking_is_told_apart_and_is_the_default(scripted: Make, plugins: Plugins) -> None:
    script = Script(pieces=["<thi", "nk>\nhm", " hm</think", ">\n\nyes"])
    async with opened(templated(scripted(m=script), THINKER), plugins) as pipeline:
        whole = await chat(pipeline, "hi")
        assert (whole.message.thinking, whole.message.content) == ("hm hm", "yes")
        parts = await chat_stream(pipeline, "hi", think="low")
        assert [(part.message.thinking, part.message.content) for part in parts if not part.done] == [
            *[("hm", ""), (" hm", ""), ("", "yes")]
        ]
        plain = await chat(pipeline, "hi", think=False)
        assert (plain.message.thinking, plain.message.content) == ("", "<think>\nhm hm</think>\n\nyes")
        assert await rendered(pipeline, "hi") == "user:hi|true/medium|A:"
        assert await rendered(pipeline, "hi", think="max") == "user:hi|true/max|A:"
        assert await rendered(pipeline, "hi", think=False) == "user:hi|false/|A:"
        said = {"role": "assistant", "content": "b", "thinking": "c"}
        assert (
            await rendered(pipeline, "hi", said, "go", think=False) == "user:hi|A:<think>c</think>b|user:go|false/|A:"
        )


async def test_tools_reach_the_template_and_their_results_come_back(scripted: Make, plugins: Plugins) -> None:
    asked = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result = {"role": "tool", "content": "rain", "tool_name": "get_weather", "tool_call_id": "call_1"}
    async with opened(templated(scripted(m=Script()), CALLER), plugins) as pipeline:
        prompt = await rendered(pipeline, "weather?", asked, result, tools=[WEATHER, TIME])
        assert prompt == (
            "get_weather,get_time,|user:weather?|"
            'assistant:<tool_call>{"name": "get_weather", "arguments": {"city":"Oslo"}}</tool_call>|'
            "tool(get_weather):rain|A:"
        )
        assert await rendered(pipeline, "hi", tools=[WEATHER], tool_choice="none") == "user:hi|A:"
        assert await rendered(pipeline, "hi", tools=[WEATHER], options={"tool_choice": "none"}) == "user:hi|A:"
        assert await rendered(pipeline, "hi", tools=[]) == "user:hi|A:"


async def test_calls_are_counted_and_named_and_leave_the_text_alone(scripted: Make, plugins: Plugins) -> None:
    calls = [
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo", "a": 1}}</tool_call>',
        '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>',
    ]
    script = Script(pieces=["Let me", " see.", *calls[0], *calls[1]])
    async with opened(templated(scripted(m=script), CALLER), plugins) as pipeline:
        parts = await chat_stream(pipeline, "hi", tools=[WEATHER, TIME])
        whole = await chat(pipeline, "hi", tools=[WEATHER, TIME])
        ignored = await chat(pipeline, "hi")
    assert ignored.message.content == "Let me see." + "".join(calls)
    assert "".join(part.message.content for part in parts).strip() == whole.message.content.strip() == "Let me see."
    found = [call for part in parts for call in part.message.tool_calls or ()]
    for each in (found, whole.message.tool_calls or []):
        assert [(call.function.index, call.function.name) for call in each] == [(0, "get_weather"), (1, "get_time")]
        assert list(each[0].function.arguments.items()) == [("city", "Oslo"), ("a", 1)]
        assert len({call.id for call in each}) == 2
        assert all(re.fullmatch(r"call_[a-z0-9]{8}", call.id) for call in each)
    assert not any(part.done for part in parts if part.message.tool_calls)
    assert (parts[-1].done_reason, whole.done_reason) == ("stop", "stop")


async def test_a_call_that_nobody_offered_is_no_error_in_a_generation(scripted: Make, plugins: Plugins) -> None:
    call = '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    script = Script(pieces=["<|channel|>analysis<|message|>hm<|end|>", call])
    async with opened(templated(scripted(m=script), PLAIN, parser="harmony"), plugins) as pipeline:
        whole = await ask(pipeline, prompt="hi")
        assert (whole.thinking, whole.response, whole.done_reason) == ("hm", "", "stop")
        said = await chat(pipeline, "hi")
        assert [call.function.name for call in said.message.tool_calls or []] == ["f"]


async def test_a_malformed_call_is_no_error(scripted: Make, plugins: Plugins) -> None:
    script = Script(pieces=["<tool_call>", '{"name": "get_weather", "argu'])
    async with opened(templated(scripted(m=script), CALLER), plugins) as pipeline:
        whole = await chat(pipeline, "hi", tools=[WEATHER])
    assert (whole.done, whole.done_reason, whole.message.tool_calls) == (True, "stop", None)


async def test_what_the_model_stops_at_ends_the_answer_unless_the_request_says_where(
    scripted: Make, plugins: Plugins
) -> None:
    config = templated(scripted(m=Script(pieces=["a", "b", "c", "d"])), PLAIN, options={"stop": ["c"]})
    async with opened(config, plugins) as pipeline:
        assert (await chat(pipeline, "hi")).message.content == "ab"
        assert (await chat(pipeline, "hi", options={"stop": "b"})).message.content == "a"


async def test_a_failure_in_the_middle_is_raised_after_what_was_said(scripted: Make, plugins: Plugins) -> None:
    async with opened(templated(scripted(m=Script(fault="fail", fault_at=1)), PLAIN), plugins) as pipeline:
        with pytest.raises(EngineError, match="the script says so"):
            await chat_stream(pipeline, "hi")
        with pytest.raises(EngineError, match="the script says so"):
            await chat(pipeline, "hi")
