"""One request for text on its way to a server of OpenAI's API, and its answer on its way back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import UNSET, structs

from remuda.job import Event, Job

from ..client import Reply, UpstreamClient
from ..faults import Broke, Fault, Refused
from ..member import Member
from .events import Reader
from .flavour import Flavour
from .library import prefix
from .request import Request
from .said import sentence
from .sse import DONE, payloads

__all__ = ["refusal", "said_by"]

_LARGEST: Final = 64 * 1024 * 1024
_LARGEST_REFUSAL: Final = 64 * 1024
_END: Final = 0.2
"""Seconds that a stream may take to end after its last word; the connection is kept if it does."""


async def refusal(reply: Reply, member: Member) -> Refused:
    """Of a reply whose status is not 2xx. Reads it."""
    try:
        body = await reply.read(_LARGEST_REFUSAL)
    except Fault:
        body = b""
    return Refused(member.name, reply.status, reply.headers, body, sentence(body))


async def said_by(
    client: UpstreamClient, member: Member, flavour: Flavour, request: Request, job: Job
) -> AsyncGenerator[Event, None]:
    """The events of the answer, `Finished` last. Raises `Fault`, a `Refused` only before the first event."""
    request_id = job.request_id if flavour.request_ids else ""
    reader = Reader(job, member.name, time.perf_counter_ns())
    async with aclosing(_payloads(client, member, request, request_id)) as sent:
        empty, done = True, False
        try:
            async for payload in sent:
                empty = False
                if payload == DONE:
                    done = True
                    await _drain(sent)
                    break
                for event in reader.take(payload):
                    yield event
        except Fault:
            if not reader.reason:  # else all was said, and only the end of the stream lacks
                raise
    if empty and flavour.one_at_a_time:
        # It begins a stream before it knows whether it can answer, and says why not only to those who want it whole.
        whole = msgspec.json.encode(structs.replace(request.asked, stream=False, stream_options=UNSET))
        async with aclosing(_payloads(client, member, structs.replace(request, body=whole), request_id)) as sent:
            async for payload in sent:
                for event in reader.take(payload):
                    yield event
    if not reader.reason:
        _check_end(reader, member, flavour, done=done)
    for event in reader.finish():
        yield event


def _check_end(reader: Reader, member: Member, flavour: Flavour, *, done: bool) -> None:
    """Of an answer that came without a reason why it ended."""
    if not done:
        raise Broke(member.name, "broke off before the end of its answer")
    if flavour.one_at_a_time:
        raise Broke(
            member.name,
            "ended its answer for another request, as it does unless it is started with --interrupt_requests false",
        )
    if not reader.started:
        raise Broke(member.name, "gave no answer")


async def _payloads(
    client: UpstreamClient, member: Member, request: Request, request_id: str
) -> AsyncGenerator[bytes, None]:
    """Chunks of the answer, or the whole of it where the server does not stream. Raises `Fault`."""
    path = prefix(member) + request.path
    async with aclosing(await client.send("POST", path, request.body, request_id=request_id)) as reply:
        if not 200 <= reply.status < 300:
            raise await refusal(reply, member)
        if "json" in reply.headers.get("content-type", ""):
            yield await reply.read(_LARGEST)
            return
        async with aclosing(reply.lines()) as blocks:
            async for block in blocks:
                for payload in payloads(block):
                    yield payload


async def _drain(sent: AsyncGenerator[bytes, None]) -> None:
    with contextlib.suppress(TimeoutError, Fault):
        async with asyncio.timeout(_END):
            async for _ in sent:
                pass
