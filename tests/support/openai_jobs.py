"""Jobs for upstreams of the kind "openai", and the dialect that takes them there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest
from msgspec import structs

from remuda.config import Config, RemoteConfig, UpstreamConfig
from remuda.errors import RemudaError
from remuda.job import Event, Finished, Job, Message, ToolCalls
from remuda.model import parse_name
from remuda.output import Text, Thinking
from remuda.remote import remote_entry
from remuda.wire import Tool, merge_options
from remuda.wire.chat import Property, ToolFunction, ToolParameters
from remuda_remote.client import UpstreamClient
from remuda_remote.faults import Fault
from remuda_remote.member import Member, members
from remuda_remote.openai.dialect import OpenAIDialect

__all__ = [
    "WEATHER",
    "a_job",
    "calls_of",
    "error_of",
    "finished",
    "member_of",
    "said",
    "speaking",
    "text_of",
    "thinking_of",
]

_CITY = ToolParameters(type="object", properties={"city": Property(type="string")}, required=["city"])
WEATHER = Tool(function=ToolFunction(name="weather", description="The weather of a city", parameters=_CITY))


def member_of(url: str = "http://127.0.0.1:1", **settings: Any) -> Member:
    """The upstream `far`."""
    config = Config(upstreams={"far": UpstreamConfig(kind="openai", url=url, **settings)})
    return members(config)[0]


@asynccontextmanager
async def speaking(url: str, *, repair: int = 1, **settings: Any) -> AsyncGenerator[OpenAIDialect, None]:
    member = member_of(url, **{"first_byte_timeout": 20.0, "stall_timeout": 20.0, **settings})
    client = UpstreamClient(member, max_line=1024 * 1024)
    try:
        yield OpenAIDialect(member, client, RemoteConfig(repair=repair))
    finally:
        await client.close()


def a_job(*said: str | Message, options: dict[str, Any] | None = None, **fields: Any) -> Job:
    """A chat, of messages or of what a user says."""
    given = options or {}
    job = Job(
        request_id="req-1",
        endpoint="/api/chat",
        name="tiny",
        entry=remote_entry(parse_name("tiny")),
        options=merge_options((given,)),
        given=given,
        messages=[each if isinstance(each, Message) else Message("user", each) for each in said or ("Hi",)],
    )
    return structs.replace(job, **fields)


async def said(dialect: OpenAIDialect, job: Job, model: str = "tiny:latest") -> list[Event]:
    async with aclosing(await dialect.answer(job, model)) as events:
        return [event async for event in events]


async def error_of(dialect: OpenAIDialect, **fields: Any) -> RemudaError:
    """What a client is told who asks for that."""
    with pytest.raises((Fault, RemudaError)) as caught:
        await said(dialect, a_job(**fields))
    return caught.value.error() if isinstance(caught.value, Fault) else cast(RemudaError, caught.value)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def thinking_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Thinking))


def calls_of(events: list[Event]) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for event in events if isinstance(event, ToolCalls) for call in event.calls]


def finished(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last
