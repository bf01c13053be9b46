from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from openai_jobs import WEATHER, a_job, calls_of, error_of, finished, said, speaking, text_of, thinking_of
from upstream import Fault as Trouble, Upstream

from remuda.errors import BadRequest, NotFound, RateLimited, RemudaError, UpstreamError
from remuda.output import Text
from remuda_remote.faults import Broke, Refused, TooSlow

pytestmark = pytest.mark.anyio
CHAT = "POST /v1/chat/completions"


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream(kind="openai") as upstream:
        yield upstream


def bodies(upstream: Upstream, kind: str = CHAT) -> list[dict[str, Any]]:
    return [seen.json() for seen in upstream.requests if seen.kind == kind]


# --- answers


async def test_an_answer_streams_with_the_counts_of_the_server(upstream: Upstream):
    upstream.thinking = ["hm"]
    async with speaking(upstream.url) as dialect:
        events = await said(dialect, a_job(options={"num_predict": 3}))
    assert (thinking_of(events), text_of(events)) == ("hm", "Once upon a")
    done = finished(events).done
    assert (done.reason, done.prompt_tokens, done.output_tokens) == ("length", 5, 3)
    (seen,) = (seen for seen in upstream.requests if seen.kind == CHAT)
    assert seen.json()["stream"] is True
    assert seen.headers["x-request-id"] == "req-1"


async def test_raw_text_is_continued(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        assert text_of(await said(dialect, a_job("x", prompt="Once"))) == "Once upon a time"
    assert bodies(upstream, "POST /v1/completions")[0]["prompt"] == "Once"


async def test_calls_of_tools_come_whole_with_their_ids(upstream: Upstream):
    upstream.tool_calls = [{"id": "a1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]
    async with speaking(upstream.url) as dialect:
        for choice in (None, "weather"):
            events = await said(dialect, a_job(tools=(WEATHER,), tool_choice=choice))
            assert calls_of(events) == [("weather", {"city": "Oslo"})]
        upstream.tool_calls = []
        error = await error_of(dialect, tools=(WEATHER,), tool_choice="weather")
    assert isinstance(error, UpstreamError)
    assert "without the call of a tool" in str(error)


async def test_a_server_that_does_not_stream_is_understood(upstream: Upstream):
    whole = {"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 7}}
    upstream.extra = {CHAT: (200, whole)}
    async with speaking(upstream.url) as dialect:
        events = await said(dialect, a_job())
    assert (text_of(events), finished(events).done.output_tokens) == ("all", 7)


def event(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


@pytest.mark.parametrize("ending", [[b""], ["[DONE]"], [b": bye\r\n"]], ids=["eof", "done", "comment"])
async def test_a_reason_makes_an_answer_whole_however_the_stream_ends(upstream: Upstream, ending: list[str | bytes]):
    upstream.events = [b'data:{"choices": null}\r\n', event("a"), event("b", "stop"), *ending]
    async with speaking(upstream.url) as dialect:
        assert text_of(await said(dialect, a_job())) == "ab"


async def test_a_connection_is_kept_after_an_answer(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        for _ in range(3):
            await said(dialect, a_job())
    assert upstream.connections == 1


async def test_an_answer_that_only_stops_is_broken(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        upstream.events = [event("a"), b""]
        with pytest.raises(Broke, match="before the end"):
            await said(dialect, a_job())
        upstream.events = []
        with pytest.raises(Broke, match="no answer"):
            await said(dialect, a_job())
        upstream.events = [event("a")]
        assert text_of(await said(dialect, a_job())) == "a"  # ended by [DONE], without a reason


async def test_an_error_in_the_stream_is_told_in_its_own_words(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        upstream.events = [{"error": {"message": "too hot", "code": 503}}]
        with pytest.raises(Refused, match="503: too hot"):
            await said(dialect, a_job())
        upstream.events = [event("a"), {"error": {"message": "too hot"}}]
        async with aclosing(await dialect.answer(a_job(), "tiny:latest")) as events:
            assert await anext(aiter(events)) == Text("a")
            with pytest.raises(Broke, match="broke off: too hot"):
                await anext(aiter(events))


async def test_a_connection_that_is_cut_is_a_break(upstream: Upstream):
    upstream.fail(CHAT, Trouble(cut=3))
    async with speaking(upstream.url) as dialect:
        with pytest.raises(Broke):
            await said(dialect, a_job())


async def test_a_server_that_stalls_is_too_slow_unless_all_was_said(upstream: Upstream):
    upstream.fail(CHAT, Trouble(stall=4))
    async with speaking(upstream.url, stall_timeout=0.15) as dialect:
        with pytest.raises(TooSlow):
            await said(dialect, a_job())
        upstream.events = [event("a", "stop"), event("")]
        upstream.fail(CHAT, Trouble(stall=2))
        assert text_of(await said(dialect, a_job())) == "a"


async def test_closing_and_cancelling_close_the_exchange(upstream: Upstream):
    upstream.words, upstream.delay = ["x"] * 1000, 0.01
    async with speaking(upstream.url) as dialect:
        async with aclosing(await dialect.answer(a_job(), "tiny:latest")) as events:
            await anext(aiter(events))
        await upstream.left(1)
        upstream.delay = 30
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dialect.answer, a_job(), "tiny:latest")
            await upstream.requested(CHAT, 2)
            tasks.cancel_scope.cancel()
        await upstream.left(2)


# --- refusals


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, b'{"error": {"message": "bad top_p"}}', BadRequest, "bad top_p"),
        (422, b'{"detail": [{"loc": ["body", "x"], "msg": "odd"}]}', BadRequest, "body.x: odd"),
        (404, b'{"error": {"message": "no such model"}}', NotFound, "no such model"),
        (404, b'{"detail": "Not Found"}', BadRequest, "no route"),
        (429, b'{"error": {"message": "slow down"}}', RateLimited, "slow down"),
        (401, b'{"error": {"message": "bad key"}}', UpstreamError, "key"),
        (501, b'{"error": {"message": "not here"}}', BadRequest, "upstream 'far' cannot do this: not here"),
        (500, b'{"error": {"message": "image input is not supported"}}', BadRequest, "image input"),
        (500, b'{"error": {"message": "can only concatenate str (not \\"list\\") to str"}}', BadRequest, '"images"'),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(
    upstream: Upstream, status: int, body: bytes, kind: type[RemudaError], text: str
):
    upstream.fail(CHAT, Trouble(status=status, body=body))
    async with speaking(upstream.url) as dialect:
        error = await error_of(dialect)
    assert type(error) is kind
    assert text in str(error)


async def test_a_key_is_sent_and_never_told():
    with Upstream(kind="openai", key="right") as upstream:
        async with speaking(upstream.url, headers={"Authorization": "Bearer right"}) as dialect:
            assert text_of(await said(dialect, a_job())) == "Once upon a time"
        async with speaking(upstream.url, headers={"Authorization": "Bearer wrong"}) as dialect:
            with pytest.raises(Refused) as refused:
                await dialect.models()
            assert "wrong" not in str(refused.value.error())


async def test_what_a_server_refused_it_is_not_asked_for_again(upstream: Upstream):
    upstream.refuses = {
        "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "stream_options": "Unknown parameter: 'stream_options'.",
    }
    async with speaking(upstream.url) as dialect:
        for _ in range(2):
            assert text_of(await said(dialect, a_job(options={"num_predict": 2}))) == "Once upon"
    asked = bodies(upstream)
    assert len(asked) == 4
    assert asked[-1]["max_completion_tokens"] == 2
    assert all("max_tokens" not in body and "stream_options" not in body for body in asked[2:])


async def test_what_is_refused_to_two_at_once_is_left_out_for_both(upstream: Upstream):
    upstream.refuses = {"stream_options": "Unknown parameter: 'stream_options'."}
    async with speaking(upstream.url) as dialect:
        await dialect.models()
        told = await asyncio.gather(*(said(dialect, a_job()) for _ in range(2)))
    assert [text_of(events) for events in told] == ["Once upon a time"] * 2
    assert sorted("stream_options" in body for body in bodies(upstream)) == [False, False, True, True]


async def test_a_server_that_was_away_is_asked_anew(upstream: Upstream):
    upstream.refuses = {"max_tokens": "max_tokens is not supported"}
    async with speaking(upstream.url) as dialect:
        await said(dialect, a_job(options={"num_predict": 2}))
        upstream.refuses = {}
        upstream.fail("GET /v1/models", Trouble(status=503))
        with pytest.raises(Refused):
            await dialect.models()
        await dialect.models()
        await said(dialect, a_job(options={"num_predict": 2}))
    assert [("max_tokens" in body) for body in bodies(upstream)] == [True, False, True]


async def test_a_limit_that_is_only_too_large_is_the_clients(upstream: Upstream):
    upstream.refuses = {"max_tokens": "max_tokens is too large: 9. The model writes at most 8."}
    async with speaking(upstream.url) as dialect:
        assert "too large" in str(await error_of(dialect, options={"num_predict": 9}))
    assert len(bodies(upstream)) == 1


async def test_a_format_that_is_refused_is_tried_in_another_form_and_then_refused_by_name(upstream: Upstream):
    upstream.refuses = {"response_format": "'response_format.type' must be 'text'"}
    async with speaking(upstream.url) as dialect:
        for _ in range(2):
            error = await error_of(dialect, format="json")
            assert isinstance(error, BadRequest)
            assert "upstream 'far' cannot do \"format\"" in str(error)
        assert [body["response_format"]["type"] for body in bodies(upstream)] == ["json_object", "json_schema"]
        assert text_of(await said(dialect, a_job())) == "Once upon a time"


async def test_a_schema_that_is_wrong_is_the_clients(upstream: Upstream):
    upstream.refuses = {"response_format": "Invalid schema for response_format 'answer': must be an object"}
    async with speaking(upstream.url) as dialect:
        for _ in range(2):
            assert "Invalid schema" in str(await error_of(dialect, format={"type": "string"}))
    assert len(bodies(upstream)) == 2


async def test_a_schema_without_a_bottom_is_the_clients(upstream: Upstream):
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    async with speaking(upstream.url) as dialect:
        assert "too deeply" in str(await error_of(dialect, format=schema))
        upstream.owned_by = "vllm"
        await dialect.models()
        assert "too deeply" in str(await error_of(dialect, format=schema))
    assert bodies(upstream) == []


# --- llama-cpp-python's server


@pytest.fixture
def single(upstream: Upstream) -> Upstream:
    upstream.owned_by = "me"
    return upstream


async def test_one_request_at_a_time_and_no_probe_meanwhile(single: Upstream):
    single.delay = 0.02
    async with speaking(single.url) as dialect:
        listed = await dialect.models()
        running: list[int] = []

        async def one() -> None:
            async with aclosing(await dialect.answer(a_job(), "tiny:latest")) as events:
                async for _ in events:
                    running.append(single.running)
                    assert await dialect.models() == listed

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
    assert set(running) <= {0, 1}
    assert (single.count("GET /v1/models"), single.count(CHAT)) == (1, 3)
    assert not [seen for seen in single.requests if "x-request-id" in seen.headers]


async def test_an_answer_that_another_request_ended_is_broken(single: Upstream):
    single.events = [event("a")]
    async with speaking(single.url) as dialect:
        with pytest.raises(Broke, match="interrupt_requests"):
            await said(dialect, a_job())


async def test_a_stream_that_says_nothing_is_asked_why(single: Upstream):
    single.events = [b""]
    single.whole = {"choices": [{"message": {"content": "after all"}, "finish_reason": "stop"}]}
    async with speaking(single.url) as dialect:
        assert text_of(await said(dialect, a_job())) == "after all"
        single.whole = {"error": {"message": "the prompt is too long", "code": 400}}
        assert str(await error_of(dialect)) == "the prompt is too long"
