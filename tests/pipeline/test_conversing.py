"""Models that take conversations themselves: what they are asked, and what becomes of what they say."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast

import pytest
from conversing import Talking, texts

from remuda import Converses, Done, Job, Text, Thinking, ToolCall, ToolCalls
from remuda.backend import Backend, LoadedModel, LoadWish
from remuda.config import Config
from remuda.errors import BadRequest, EngineError, LoadFailed, PluginError
from remuda.hookspecs import RegisterFactory, RegisterModel, hookimpl
from remuda.model import ModelEntry
from remuda.plugins import load_plugins

from .asking import WEATHER, ask, chat, chat_stream, opened, stream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0" + bytes(64)).decode()


class Silent(LoadedModel):
    """It has no capability."""

    alive = True
    context = 4

    async def close(self) -> None: ...


class Halfway(LoadedModel):
    """Its author forgot `context`."""

    alive = True

    async def close(self) -> None: ...


class Awaited(Silent, Converses):
    """Its author forgot `yield`."""

    async def converse(self, job: Job) -> Any:
        return []


class _Says:
    """A plugin with a backend `says`, which loads `loaded` for its model `m`."""

    def __init__(self, loaded: Any, *, converses: bool = True) -> None:
        self._loaded, self._converses = loaded, converses

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        plugin = self

        class Says(Backend):
            converses = plugin._converses

            async def load(self, model: ModelEntry, wish: LoadWish) -> Any:
                return plugin._loaded

        register("says", Says)

    @hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        register("m", backend="says")


def _plugins(*plugins: object) -> Any:
    return load_plugins([], extra=[(f"plugin{number}", plugin) for number, plugin in enumerate(plugins)])


async def test_it_gets_the_conversation_as_the_client_meant_it() -> None:
    talking = Talking(*texts("hello"))
    said = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look", "images": [PIXEL]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "cold", "tool_name": "f", "tool_call_id": "c1"},
    ]
    async with opened(Config(), _plugins(talking)) as pipeline:
        wishes: dict[str, Any] = {"format": {"type": "object"}, "think": "low"}
        options = {"seed": 7, "tool_choice": "required"}
        reply = await chat(pipeline, *said, tools=[WEATHER], options=options, **wishes)
    assert reply.message.content == "hello"
    [job] = talking.jobs
    assert [(message.role, message.content) for message in job.messages] == [
        ("system", "be brief"),
        ("user", "look"),
        ("assistant", ""),
        ("tool", "cold"),
    ]
    assert job.messages[1].images == (base64.b64decode(PIXEL),)
    assert job.messages[2].tool_calls == (ToolCall(name="f", arguments={}, id="c1"),)
    assert (job.messages[3].tool_name, job.messages[3].tool_call_id) == ("f", "c1")
    assert [tool.function.name for tool in job.tools] == ["get_weather"]
    assert (job.tool_choice, job.format, job.think, job.given) == ("", {"type": "object"}, "low", {"seed": 7})


async def test_a_text_is_a_conversation_of_one() -> None:
    talking = Talking(*texts("hel", "lo"))
    async with opened(Config(), _plugins(talking)) as pipeline:
        lines = [line async for line in await stream(pipeline, prompt="hi", system="be brief", suffix="bye")]
    assert [line.response for line in lines] == ["hel", "lo", ""]
    assert (lines[-1].done_reason, lines[-1].context) == ("stop", None)
    [job] = talking.jobs
    assert [(message.role, message.content) for message in job.messages] == [("system", "be brief"), ("user", "hi")]
    assert (job.prompt, job.suffix) == (None, "bye")


async def test_thinking_text_and_calls_are_told_apart_by_their_events() -> None:
    call = ToolCall(name="get_weather", arguments={"city": "Ulm"})
    talking = Talking(Thinking("hm"), Text("I "), Text("look"), ToolCalls([call, call]))
    async with opened(Config(), _plugins(talking)) as pipeline:
        parts = await chat_stream(pipeline, "how is it in Ulm?", tools=[WEATHER])
    assert [(part.message.thinking, part.message.content) for part in parts] == [
        ("hm", ""),
        ("", "I "),
        ("", "look"),
        ("", ""),
        ("", ""),
    ]
    calls = parts[3].message.tool_calls or []
    assert [(call.function.index, call.function.name, call.function.arguments) for call in calls] == [
        (0, "get_weather", {"city": "Ulm"}),
        (1, "get_weather", {"city": "Ulm"}),
    ]
    assert len({call.id for call in calls}) == 2


@pytest.mark.parametrize(
    ("said", "fields", "refusal"),
    [
        (["hi"], {"tools": [WEATHER]}, "does not support tools"),
        (["hi"], {"tools": [WEATHER], "tool_choice": "required"}, "does not support tools"),
        (["hi"], {"think": True}, '"m" does not support thinking'),
        (["hi"], {"_debug_render_only": True}, '"m" does not support "_debug_render_only"'),
        ([{"role": "user", "content": "look", "images": [PIXEL]}], {}, "does not support vision"),
    ],
)
async def test_a_chat_that_it_cannot_have_is_refused_before_it_hears_of_it(
    said: list[Any], fields: dict[str, Any], refusal: str
) -> None:
    talking = Talking(*texts("never"), models={"m": ["completion"]})
    async with opened(Config(), _plugins(talking)) as pipeline:
        with pytest.raises(BadRequest, match=refusal):
            await chat(pipeline, *said, **fields)
    assert (talking.jobs, talking.loaded) == ([], [])


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"suffix": "end"}, "does not support insert"),
        ({"template": "{{ .Prompt }}"}, '"m" does not support "template"'),
        ({"raw": True}, '"m" does not support "raw"'),
        ({"context": [1, 2]}, '"m" does not support "context"'),
    ],
)
async def test_a_text_that_needs_a_prompt_is_refused(fields: Any, refusal: str) -> None:
    talking = Talking(*texts("never"), models={"m": ["completion"]})
    async with opened(Config(), _plugins(talking)) as pipeline:
        with pytest.raises(BadRequest, match=refusal):
            await ask(pipeline, prompt="hi", **fields)
    assert (talking.jobs, talking.loaded) == ([], [])


async def test_an_answer_ends_at_a_stop_string_and_so_does_the_work() -> None:
    talking = Talking(*texts("one E", "N", "D two"))
    talking.endless = True
    async with opened(Config(), _plugins(talking)) as pipeline:
        reply = await ask(pipeline, prompt="hi", options={"stop": ["END"]})
        assert talking.closed.is_set()
    assert (reply.response, reply.done_reason, reply.eval_count) == ("one ", "stop", 3)


async def test_what_only_began_like_a_stop_string_is_not_lost() -> None:
    talking = Talking(Text("one E"), Text("N"))
    async with opened(Config(), _plugins(talking)) as pipeline:
        assert (await ask(pipeline, prompt="hi", options={"stop": ["END"]})).response == "one EN"


@pytest.mark.parametrize(("most", "text", "reason"), [(0, "", "length"), (2, "abcd", "length"), (3, "abcdef", "stop")])
async def test_pieces_count_for_tokens_where_the_model_cannot_count(most: int, text: str, reason: str) -> None:
    talking = Talking(*texts("ab", "", "cd", "ef"))
    async with opened(Config(), _plugins(talking)) as pipeline:
        reply = await ask(pipeline, prompt="hi", options={"num_predict": most})
    assert (reply.response, reply.done_reason, reply.eval_count) == (text, reason, most)


async def test_a_model_that_counts_has_the_last_word() -> None:
    told = Done(reason="length", prompt_tokens=9, prompt_ns=5, output_tokens=2, output_ns=6)
    async with opened(Config(), _plugins(Talking(*texts("ab"), told))) as pipeline:
        reply = await ask(pipeline, prompt="hi", options={"num_predict": 1})
    assert (reply.response, reply.done_reason) == ("ab", "length")
    assert (reply.prompt_eval_count, reply.prompt_eval_duration, reply.eval_count, reply.eval_duration) == (9, 5, 2, 6)


async def test_durations_are_never_nothing() -> None:
    async with opened(Config(), _plugins(Talking())) as pipeline:
        reply = await ask(pipeline, prompt="hi")
    assert reply.response == ""
    assert (reply.prompt_eval_duration or 0) > 0
    assert (reply.eval_duration or 0) > 0


@pytest.mark.parametrize(("think", "thinking"), [(None, "hm"), (True, "hm"), (False, "")])
async def test_thinking_that_nobody_wants_is_left_out(think: bool | None, thinking: str) -> None:
    async with opened(Config(), _plugins(Talking(Thinking("hm"), Text("so")))) as pipeline:
        reply = await chat(pipeline, "hi", think=think)
    assert (reply.message.thinking, reply.message.content) == (thinking, "so")


async def test_text_that_is_no_unicode_can_leave() -> None:
    async with opened(Config(), _plugins(Talking(Text("a\ud800b"), Thinking("\udfff")))) as pipeline:
        reply = await chat(pipeline, "hi")
    assert (reply.message.content, reply.message.thinking) == ("a?b", "?")


async def test_its_own_errors_reach_the_client() -> None:
    async with opened(Config(), _plugins(Talking(EngineError("the service is down")))) as pipeline:
        with pytest.raises(EngineError, match="the service is down"):
            await chat(pipeline, "hi")


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (Text("end"), "ended an answer without `Done`"),
        ("text", "sent str: it may send Text"),
        (Text(cast(Any, 2)), "sent a Text that holds int: it may hold str"),
        (Thinking(cast(Any, None)), "sent a Thinking that holds NoneType: it may hold str"),
    ],
)
async def test_a_broken_promise_is_told(event: Any, fault: str) -> None:
    async with opened(Config(), _plugins(Talking(event, done=False))) as pipeline:
        with pytest.raises(PluginError, match=f"the model 'm:latest' {fault}"):
            await chat(pipeline, "hi")


async def test_what_only_the_log_may_tell_names_the_model(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(Config(), _plugins(Talking(Text("a"), ZeroDivisionError("of a secret")))) as pipeline:
        with pytest.raises(EngineError, match="of model 'm:latest' raised ZeroDivisionError; the server's"):
            await chat(pipeline, "hi")
    assert "of a secret" in caplog.text


@pytest.mark.parametrize(
    ("loaded", "fault"),
    [
        (None, "the backend 'says' loaded NoneType and no remuda.LoadedModel: its `load` must return one"),
        (Halfway(), "the backend 'says' loaded a model whose `context` is None: set it, in tokens"),
    ],
)
async def test_what_is_no_loaded_model_is_told(loaded: Any, fault: str) -> None:
    async with opened(Config(), _plugins(_Says(loaded))) as pipeline:
        with pytest.raises(LoadFailed) as failed:
            await asyncio.wait_for(chat(pipeline, "hi"), 10)
    assert str(failed.value) == fault


async def test_an_answer_that_is_awaited_is_told() -> None:
    async with opened(Config(), _plugins(_Says(Awaited()))) as pipeline:
        with pytest.raises(PluginError, match="`converse` of the model 'm:latest' returned a coroutine: it must be"):
            await chat(pipeline, "hi")


async def test_a_backend_that_does_not_say_what_its_models_take_is_told() -> None:
    async with opened(Config(), _plugins(_Says(Awaited(), converses=False))) as pipeline:
        with pytest.raises(PluginError, match="its backend must say `converses = True`"):
            await ask(pipeline, prompt="hi")


async def test_a_model_that_takes_none_after_all_is_told() -> None:
    async with opened(Config(), _plugins(_Says(Silent()))) as pipeline:
        with pytest.raises(BadRequest, match='"m" does not support chat'):
            await chat(pipeline, "hi")
