"""`/api/generate`: from request to `Job`, from events to responses (Ollama API, "Generate a completion")."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import structs

from ..errors import BadRequest
from ..job import NOBODY, Client, Event, Finished, Job, Loaded, Message, Rendered, ToolCalls, Waiting
from ..output import Text, Thinking
from ..wire import (
    DebugInfo,
    GenerateRequest,
    GenerateResponse,
    ProgressResponse,
    utc_now,
)
from ..wire.images import decode_images
from .fields import Known, begun, with_wishes
from .replies import collected, joined_logprobs, last_fields, waiting_line, wire_logprobs

__all__ = ["collect_generate", "generate_responses", "generate_single", "parse_generate"]

ENDPOINT = "/api/generate"
_TOKENS = 2**31
"""No vocabulary is larger. Which one it is, is known where the model is."""


def parse_generate(
    request: GenerateRequest,
    known: Known,
    request_id: str,
    client: Client = NOBODY,
    upstreams: tuple[str, ...] = (),
) -> Job:
    """Check everything that can be checked before any work, in the protocol's order.

    Raises `BadRequest` or what `Catalog.find` raises.
    """
    images = decode_images(request.images or [])
    prompt, raw, context = request.prompt or "", bool(request.raw), request.context or []
    job = begun(request, known, request_id, client, ENDPOINT, upstreams, load_only=not prompt)
    if job.unload:
        return job
    if raw and (request.template or request.system or context):
        raise BadRequest("raw mode does not support template, system, or context")
    if any(not 0 <= token < _TOKENS for token in context):
        raise BadRequest(f"context holds a number that is no token: they run from 0 to {_TOKENS - 1}")
    system = request.system or job.entry.system
    opening = [Message(*each) for each in job.entry.messages] if not context else []
    user = Message("user", prompt, images=images)
    return structs.replace(
        with_wishes(job, request.options or {}, request.format, known),
        prompt=prompt if raw else None,
        suffix=request.suffix or "" if not raw else "",
        template=request.template or "",
        messages=[*([Message("system", system)] if system else []), *opening, user],
        context=context,
        want_context=not raw,
    )


async def generate_responses(
    name: str, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[GenerateResponse | ProgressResponse, None]:
    """One response an event. A call of a tool, which nobody offered here, is left out."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Waiting):
                yield waiting_line(event)
            elif not isinstance(event, ToolCalls):
                yield _response(name, event)


async def collect_generate(stream: AsyncGenerator[GenerateResponse | ProgressResponse, None]) -> GenerateResponse:
    """The whole answer as one response: the last one's facts with all text."""
    parts = await collected(stream)
    return structs.replace(
        parts[-1],
        response="".join(part.response for part in parts),
        thinking="".join(part.thinking for part in parts),
        logprobs=joined_logprobs(parts),
    )


def generate_single(name: str, reason: str) -> GenerateResponse:
    """The reply to a load or an unload."""
    return GenerateResponse(model=name, created_at=utc_now(), response="", done=True, done_reason=reason)


def _response(name: str, event: Event) -> GenerateResponse:
    match event:
        case Text():
            logprobs = wire_logprobs(event.logprobs)
            return GenerateResponse(
                model=name, created_at=utc_now(), response=event.text, done=False, logprobs=logprobs
            )
        case Thinking():
            return GenerateResponse(
                model=name,
                created_at=utc_now(),
                response="",
                thinking=event.text,
                done=False,
                logprobs=wire_logprobs(event.logprobs),
            )
        case Loaded():
            return generate_single(name, "load")
        case Rendered():
            debug = DebugInfo(event.prompt, event.images)
            return GenerateResponse(model=name, created_at=utc_now(), response="", done=False, debug_info=debug)
        case Finished():
            last = last_fields(event)
            return GenerateResponse(model=name, created_at=utc_now(), response="", context=event.done.context, **last)
        case ToolCalls() | Waiting():
            raise AssertionError("`generate_responses` does without them")
