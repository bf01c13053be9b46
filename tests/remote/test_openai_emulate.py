from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from openai_jobs import WEATHER, a_job, calls_of, finished, said, speaking, text_of
from upstream import Upstream

from remuda.errors import BadRequest, UpstreamError
from remuda.job import Job, Message
from remuda.output import Text
from remuda_remote.openai import emulate
from remuda_remote.openai.checker import Check, check
from remuda_remote.openai.dialect import OpenAIDialect
from remuda_remote.openai.emulate import unfenced

pytestmark = pytest.mark.anyio
CHAT = "POST /v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream(kind="openai") as upstream:
        upstream.refuses = {"response_format": "response_format is not supported by this model"}
        yield upstream


async def answers(upstream: Upstream, dialect: OpenAIDialect, job: Job, *texts: str) -> Any:
    """What the dialect makes of a model that gives one of these answers after the other."""
    rest = list(texts)
    upstream.words = [rest.pop(0)]
    take = dialect.client.send

    async def send(*args: Any, **named: Any) -> Any:
        reply = await take(*args, **named)
        if args[0] == "POST" and reply.status == 200 and rest:
            upstream.words = [rest.pop(0)]
        return reply

    dialect.client.send = send  # type: ignore[method-assign]
    return await said(dialect, job)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("{}", "{}"),
        (' ```json\n{"a": "```"}\n``` ', '{"a": "```"}'),
        ("```\n{}\n```", "{}"),
        ("```json {}", "```json {}"),
        ("``````", "``````"),
        ("Here: ```\n{}\n```", "Here: ```\n{}\n```"),
    ],
)
async def test_a_fence_round_everything_is_taken_off(text: str, inside: str):
    assert unfenced(text) == inside


@pytest.mark.parametrize(
    ("schema", "text", "fault"),
    [
        (SCHEMA, '{"n": 3}', ""),
        (SCHEMA, '{"n": 2}', "less than the minimum"),
        (SCHEMA, '{"n": "3"}', "not of type 'integer' (at $.n)"),
        (SCHEMA, "{}", "'n' is a required property"),
        (SCHEMA, "{", "it is no JSON"),
        (SCHEMA, '{"n": 3} and so on', "it is no JSON"),
        ({"type": "string", "format": "date"}, '"2026-02-30"', "is not a 'date'"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, "1", ""),
    ],
)
async def test_a_text_is_compared_with_a_schema(schema: Any, text: str, fault: str):
    found = check(Check(msgspec.json.encode(schema).decode(), text))
    assert not found.bad_schema
    assert fault in found.fault
    assert bool(found.fault) == bool(fault)


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "strong"}, "'strong' is not valid"),
        ({"$ref": "#/nowhere"}, "points to nothing"),
        ({"$ref": "https://example.org/schema"}, "points to nothing"),
    ],
)
async def test_a_schema_that_is_none_is_said_to_be(schema: Any, fault: str):
    assert fault in check(Check(msgspec.json.encode(schema).decode(), "1")).bad_schema


async def test_an_answer_that_matches_comes_without_its_fence(upstream: Upstream):
    job = a_job(Message("system", "Be brief."), "A number?", format=SCHEMA)
    async with speaking(upstream.url, emulate=True) as dialect:
        events = await answers(upstream, dialect, job, '```json\n{"n": 7}\n```')
    assert events[:-1] == [Text('{"n": 7}')]
    asked = [seen.json() for seen in upstream.requests if seen.kind == CHAT]
    assert ["response_format" in body for body in asked] == [True, False]
    system, user = asked[1]["messages"]
    assert system["content"].startswith("Be brief.\n\n")
    assert msgspec.json.encode(SCHEMA).decode() in system["content"]
    assert user["content"] == "A number?"


async def test_an_answer_that_does_not_match_is_asked_for_again_with_what_is_wrong(upstream: Upstream):
    async with speaking(upstream.url, emulate=True) as dialect:
        events = await answers(upstream, dialect, a_job("A number?", format=SCHEMA), '{"n": 2}', '{"n": 4}')
    assert text_of(events) == '{"n": 4}'
    assert finished(events).done.prompt_tokens == 10  # of both
    last = [seen.json() for seen in upstream.requests if seen.kind == CHAT][-1]
    *_, answer, complaint = last["messages"]
    assert answer == {"role": "assistant", "content": '{"n": 2}'}
    assert "less than the minimum" in complaint["content"]


async def test_an_answer_that_never_matches_is_an_error_that_says_what_does_not(upstream: Upstream):
    async with speaking(upstream.url, emulate=True, repair=1) as dialect:
        with pytest.raises(UpstreamError, match=r"upstream 'far'.*\(2 times\): it is no JSON"):
            await answers(upstream, dialect, a_job(format="json"), "Sure! {}")
    assert sum("response_format" not in seen.json() for seen in upstream.requests if seen.kind == CHAT) == 2


async def test_a_schema_that_is_none_is_the_clients(upstream: Upstream):
    async with speaking(upstream.url, emulate=True) as dialect:
        with pytest.raises(BadRequest, match="invalid format: 'strange' is not valid"):
            await answers(upstream, dialect, a_job(format={"properties": {"a": {"type": "strange"}}}), "{}")


async def test_an_expression_that_never_ends_does_not_stop_the_server(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(emulate, "_SECONDS", 0.3)
    schema = {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}
    async with speaking(upstream.url, emulate=True) as dialect:
        with pytest.raises(BadRequest, match="too complex"):
            await answers(upstream, dialect, a_job(format=schema), '{"a": "' + "a" * 40 + '!"}')


async def test_calls_of_tools_need_not_match(upstream: Upstream):
    upstream.tool_calls = [{"function": {"name": "weather", "arguments": {}}}]
    async with speaking(upstream.url, emulate=True) as dialect:
        events = await answers(upstream, dialect, a_job(format=SCHEMA, tools=(WEATHER,)), "Let me see.")
    assert calls_of(events) == [("weather", {})]


async def test_what_the_server_enforces_is_not_checked_here(upstream: Upstream):
    upstream.refuses = {}
    async with speaking(upstream.url, emulate=True) as dialect:
        assert text_of(await answers(upstream, dialect, a_job(format=SCHEMA), "as", "it", "is")) == "as"


async def test_a_server_that_enforces_at_its_pleasure_is_checked_too(upstream: Upstream):
    upstream.refuses, upstream.owned_by = {}, "me"
    async with speaking(upstream.url, emulate=True) as dialect:
        events = await answers(upstream, dialect, a_job(format=SCHEMA), "{}", '{"n": 5}')
    assert text_of(events) == '{"n": 5}'
    asked = [seen.json() for seen in upstream.requests if seen.kind == CHAT]
    assert [body["response_format"] for body in asked] == [{"type": "json_object", "schema": SCHEMA}] * 2


async def test_raw_text_cannot_be_checked(upstream: Upstream):
    async with speaking(upstream.url, emulate=True) as dialect:
        with pytest.raises(BadRequest, match="raw text"):
            await said(dialect, a_job("x", prompt="x", format="json"))
