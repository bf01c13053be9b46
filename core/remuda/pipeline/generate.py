"""`/api/generate`: from request to `Job`, from events to responses (Ollama API, "Generate a completion")."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import structs

from ..errors import BadRequest, EngineError
from ..job import Event, Finished, Job, Loaded, Message, Rendered, ToolCalls
from ..output import Text, Thinking
from ..wire import (
    DebugInfo,
    GenerateRequest,
    GenerateResponse,
    Options,
    merge_options,
    parse_keep_alive,
    parse_options,
    utc_now,
)
from ..wire.images import decode_images
from .fields import Known, parse_format, parse_logprobs, parse_think
from .logprobs import wire_logprobs

__all__ = ["collect_generate", "generate_responses", "generate_single", "parse_generate"]

ENDPOINT = "/api/generate"
_TOKENS = 2**31
"""No vocabulary is larger. Which one it is, is known where the model is."""


def parse_generate(request: GenerateRequest, known: Known, request_id: str) -> Job:
    """Check everything that can be checked before any work, in the protocol's order.

    Raises `BadRequest` or what `Catalog.find` raises.
    """
    keep_alive, think = parse_keep_alive(request.keep_alive), parse_think(request.think)
    images = decode_images(request.images or [])
    logprobs = parse_logprobs(request.logprobs, request.top_logprobs)
    name = request.model or ""
    entry = known.catalog.find(name)
    prompt, raw, context = request.prompt or "", bool(request.raw), request.context or []
    job = Job(
        request_id=request_id,
        endpoint=ENDPOINT,
        name=name,
        entry=entry,
        options=Options(),
        keep_alive=keep_alive,
        load_only=not prompt,
    )
    if job.unload:
        return job
    if raw and (request.template or request.system or context):
        raise BadRequest("raw mode does not support template, system, or context")
    if any(not 0 <= token < _TOKENS for token in context):
        raise BadRequest(f"context holds a number that is no token: they run from 0 to {_TOKENS - 1}")
    options, ignored = parse_options(request.options or {})
    system = request.system or entry.system
    opening = [Message(*each) for each in entry.messages] if not context else []
    user = Message("user", prompt, images=images)
    return structs.replace(
        job,
        options=merge_options((entry.options, options)),
        ignored_options=tuple(ignored),
        prompt=prompt if raw else None,
        suffix=request.suffix or "" if not raw else "",
        template=request.template or "",
        messages=[*([Message("system", system)] if system else []), *opening, user],
        context=context,
        think=think,
        format=parse_format(request.format, known.formats),
        logprobs=logprobs,
        truncate=request.truncate is not False,
        shift=request.shift,
        want_context=not raw,
        render_only=bool(request.debug_render_only),
    )


async def generate_responses(name: str, events: AsyncGenerator[Event, None]) -> AsyncGenerator[GenerateResponse, None]:
    """One response an event. A call of a tool, which nobody offered here, is left out."""
    async with aclosing(events):
        async for event in events:
            if not isinstance(event, ToolCalls):
                yield _response(name, event)


async def collect_generate(stream: AsyncGenerator[GenerateResponse, None]) -> GenerateResponse:
    """The whole answer as one response: the last one's facts with all text."""
    async with aclosing(stream):
        parts = [part async for part in stream]
    if not parts:
        raise EngineError("the model gave no answer")
    if not parts[-1].done and parts[-1].debug_info is None:
        raise EngineError("the model's answer broke off before its end; try again")
    return structs.replace(
        parts[-1],
        response="".join(part.response for part in parts),
        thinking="".join(part.thinking for part in parts),
        logprobs=[each for part in parts for each in part.logprobs or ()] or None,
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
            return _last(name, event)
        case ToolCalls():
            raise AssertionError("calls are left out by `generate_responses`")


def _last(name: str, event: Finished) -> GenerateResponse:
    done = event.done
    return GenerateResponse(
        model=name,
        created_at=utc_now(),
        response="",
        done=True,
        done_reason=done.reason,
        context=done.context,
        total_duration=event.total_ns,
        load_duration=event.load_ns,
        prompt_eval_count=done.prompt_tokens,
        prompt_eval_duration=done.prompt_ns,
        eval_count=done.output_tokens,
        eval_duration=done.output_ns,
        truncated=done.dropped_tokens > 0,
        dropped_tokens=done.dropped_tokens,
        cached_tokens=done.cached_tokens,
    )
