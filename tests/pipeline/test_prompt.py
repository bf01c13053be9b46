"""From a request to a prompt, seen through `_debug_render_only` and the engine's own count of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from remuda.config import Config, LimitsConfig, MessageConfig
from remuda.errors import BadRequest
from remuda.job import Message
from remuda.pipeline.prompt import _marked, _without
from remuda.plugins import Plugins
from remuda.testing.scripted import Script

from .asking import CALLER, PLAIN, THINKER, WEATHER, ask, chat, opened, rendered
from .test_chat import templated

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

Make = Callable[..., Config]
FILL = "{{ if .Suffix }}<P>{{ .Prompt }}<S>{{ .Suffix }}<M>{{ else }}{{ .Prompt }}{{ end }}"


async def _prompt(pipeline: Any, **fields: Any) -> str:
    reply = await ask(pipeline, _debug_render_only=True, **fields)
    assert reply.debug_info is not None
    return reply.debug_info.rendered_template


async def test_a_prompt_is_a_message_of_the_user_after_what_the_model_brings(scripted: Make, plugins: Plugins) -> None:
    opening = (MessageConfig(role="user", content="one"), MessageConfig(role="assistant", content="two"))
    async with opened(templated(scripted(m=Script()), PLAIN, system="S", messages=opening), plugins) as pipeline:
        assert await _prompt(pipeline, prompt="hi") == "system:S|user:one|assistant:two|user:hi|A:"
        assert await _prompt(pipeline, prompt="hi", system="T") == "system:T|user:one|assistant:two|user:hi|A:"
        assert await _prompt(pipeline, prompt="hi", context=[65]) == "system:S|user:hi|A:"
        assert await _prompt(pipeline, prompt="hi", raw=True) == "hi"
        own = "{{ .System }}/{{ .Prompt }}/{{ .Response }}"
        assert await _prompt(pipeline, prompt="hi", template=own) == "S/one/two/hi/"


async def test_the_context_comes_before_the_rendered_prompt(scripted: Make, plugins: Plugins) -> None:
    async with opened(templated(scripted(m=Script(pieces=["x"])), PLAIN), plugins) as pipeline:
        first = await ask(pipeline, prompt="hi")
        second = await ask(pipeline, prompt="go", context=first.context)
    text = "user:hi|A:"
    assert first.context == [*map(ord, text), 1]
    assert second.context == [*first.context, *map(ord, "user:go|A:"), 1]


async def test_a_suffix_is_placed_by_the_template_and_the_system_is_left_out(scripted: Make, plugins: Plugins) -> None:
    async with opened(templated(scripted(m=Script()), FILL, system="S"), plugins) as pipeline:
        assert await _prompt(pipeline, prompt="a", suffix="b") == "<P>a<S>b<M>"
        assert await _prompt(pipeline, prompt="a", suffix="b", system="T") == "<P>a<S>b<M>"
        assert await _prompt(pipeline, prompt="a") == "a"


def _talk(count: int) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    said = [{"role": roles[at % 2], "content": f"{at}" * 9} for at in range(count)]
    return [{"role": "system", "content": "S"}, *said]


def _plain(messages: list[dict[str, Any]]) -> str:
    return "".join(f"{message['role']}:{message['content']}|" for message in messages) + "A:"


async def test_what_a_model_can_do_is_said_by_its_own_template(scripted: Make, plugins: Plugins) -> None:
    script = Script(pieces=["<think>", "hm", "</think>", "yes"])
    async with opened(templated(scripted(m=script), THINKER), plugins) as pipeline:
        reply = await ask(pipeline, prompt="hi", template="{{ .Prompt }}", think=True)
        assert (reply.thinking, reply.response) == ("hm", "yes")
        with pytest.raises(BadRequest, match="does not support insert"):
            await ask(pipeline, prompt="hi", template=FILL, suffix="x")
        raw = await ask(pipeline, prompt="hi", raw=True)
        assert (raw.thinking, raw.response) == ("", "<think>hm</think>yes")


async def test_older_messages_are_left_out_where_not_all_fit_and_that_is_said(scripted: Make, plugins: Plugins) -> None:
    talk = _talk(9)
    async with opened(templated(scripted(LimitsConfig(context=62), m=Script()), PLAIN), plugins) as pipeline:
        assert await rendered(pipeline, *talk[:4]) == _plain(talk[:4])
        kept = _plain([talk[0], *talk[7:]])
        assert await rendered(pipeline, *talk) == kept
        whole = await chat(pipeline, *talk)
        assert (whole.truncated, whole.prompt_eval_count) == (True, len(kept))
        assert whole.dropped_tokens == len(_plain(talk)) - len(kept)
        with pytest.raises(BadRequest, match=rf"{len(_plain(talk))} tokens.*61"):
            await chat(pipeline, *talk, truncate=False)
        assert not (await chat(pipeline, *talk, options={"num_ctx": 300})).truncated


async def test_the_last_message_stays_and_is_cut(scripted: Make, plugins: Plugins) -> None:
    async with opened(templated(scripted(LimitsConfig(context=40), m=Script()), PLAIN), plugins) as pipeline:
        talk = [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y" * 90}]
        assert await rendered(pipeline, *talk) == _plain(talk[1:])
        whole = await chat(pipeline, *talk)
        assert whole.truncated
        assert whole.dropped_tokens + whole.prompt_eval_count == len(_plain(talk))
        with pytest.raises(BadRequest, match="longer than the context"):
            await chat(pipeline, "y" * 90, shift=False)


@pytest.mark.parametrize("shift", [None, True, False])
async def test_at_the_end_of_the_context_the_answer_goes_on_or_ends(
    scripted: Make, plugins: Plugins, shift: bool | None
) -> None:
    config = templated(scripted(LimitsConfig(context=20), m=Script(pieces=["a"], repeat=30)), PLAIN)
    async with opened(config, plugins) as pipeline:
        whole = await chat(pipeline, "hi", shift=shift)
    assert (whole.done_reason, whole.eval_count) == (("length", 10) if shift is False else ("stop", 30))


async def test_a_template_that_does_not_end_in_time_is_the_requests_fault(scripted: Make, plugins: Plugins) -> None:
    endless = "{{ range 100000 }}{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}{{ end }}"
    async with opened(scripted(LimitsConfig(template_timeout=0.5), m=Script()), plugins) as pipeline:
        with pytest.raises(BadRequest):
            await ask(pipeline, prompt="hi", template=endless)
        assert (await ask(pipeline, prompt="hi", template="{{ .Prompt }}")).done


async def test_tools_are_told_by_hand_where_the_template_knows_none_and_a_call_is_demanded(
    scripted: Make, plugins: Plugins
) -> None:
    async with opened(templated(scripted(m=Script()), PLAIN, system="S"), plugins) as pipeline:
        prompt = await rendered(pipeline, "hi", tools=[WEATHER], tool_choice="required")
        assert prompt.startswith("system:S\n\nYou can call these functions:\n{")
        assert '"name":"get_weather"' in prompt


async def test_tools_are_told_once_where_the_template_knows_them(scripted: Make, plugins: Plugins) -> None:
    async with opened(templated(scripted(m=Script()), CALLER), plugins) as pipeline:
        assert await rendered(pipeline, "hi", tools=[WEATHER], tool_choice="required") == "get_weather,|user:hi|A:"


def test_each_image_has_its_mark_where_the_text_says_so_or_before_it() -> None:
    messages = [
        Message("user", "see [img] and [img]", images=(b"a", b"b", b"c")),
        Message("user", "none [img]"),
        Message("user", "that", images=(b"d",)),
    ]
    marked, images = _marked(messages)
    assert [message.content for message in marked] == ["[img-2]see [img-0] and [img-1]", "none [img]", "[img-3]that"]
    assert images == [b"a", b"b", b"c", b"d"]


def test_messages_are_left_out_from_the_front_but_for_those_of_the_system() -> None:
    messages = [Message(role, str(at)) for at, role in enumerate(["user", "system", "user", "system", "user"])]
    assert [message.content for message in _without(messages, 3)] == ["1", "3", "4"]
