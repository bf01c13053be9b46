"""`/api/generate`: from request to `Job`, from events to responses (Ollama API, "Generate a completion")."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import structs

from ..backend import Text
from ..errors import BadRequest, EngineError, NotBuilt
from ..model import Catalog
from ..wire import (
    DebugInfo,
    GenerateRequest,
    GenerateResponse,
    merge_options,
    parse_keep_alive,
    parse_options,
    utc_now,
)
from .flow import Event, Finished, Loaded
from .job import Job, Message

__all__ = ["collect", "is_unload", "parse_generate", "responses", "single"]

ENDPOINT = "/api/generate"
_MAX_TOP_LOGPROBS = 20


def parse_generate(request: GenerateRequest, catalog: Catalog, request_id: str) -> Job:
    """Check everything that can be checked before any work. Raises `BadRequest`, `ModelNotFound` or `NotBuilt`."""
    if not 0 <= (request.top_logprobs or 0) <= _MAX_TOP_LOGPROBS:
        raise BadRequest(f"top_logprobs must be between 0 and {_MAX_TOP_LOGPROBS}")
    name = request.model or ""
    entry = catalog.find(name)
    options, ignored = parse_options(request.options or {})
    keep_alive = parse_keep_alive(request.keep_alive)
    _refuse_unbuilt(request)
    prompt, raw = request.prompt or "", bool(request.raw)
    if raw and (request.template or request.system or request.context):
        raise BadRequest("raw mode does not support template, system, or context")
    system = request.system or entry.system
    messages = [Message("system", system)] if system else []
    return Job(
        request_id=request_id,
        endpoint=ENDPOINT,
        name=name,
        entry=entry,
        options=merge_options((entry.options, options)),
        ignored_options=tuple(ignored),
        keep_alive=keep_alive,
        prompt=prompt if raw else None,
        messages=[*messages, Message("user", prompt)],
        context=request.context or [],
        truncate=request.truncate is not False,
        shift=request.shift is not False,
        want_context=not raw,
        load_only=not prompt,
        render_only=bool(request.debug_render_only),
    )


def is_unload(job: Job) -> bool:
    """An empty prompt with a keep_alive of zero is not a request for text."""
    return job.load_only and job.keep_alive == 0


async def responses(name: str, events: AsyncGenerator[Event, None]) -> AsyncGenerator[GenerateResponse, None]:
    """One response an event."""
    async with aclosing(events):
        async for event in events:
            yield _response(name, event)


async def collect(stream: AsyncGenerator[GenerateResponse, None]) -> GenerateResponse:
    """The whole answer as one response: the last one's facts with all text."""
    texts: list[str] = []
    last: GenerateResponse | None = None
    async with aclosing(stream):
        async for last in stream:
            texts.append(last.response)
    if last is None:
        raise EngineError("the model gave no answer")
    return structs.replace(last, response="".join(texts))


def single(name: str, reason: str) -> GenerateResponse:
    """The reply to a load or an unload."""
    return GenerateResponse(model=name, created_at=utc_now(), response="", done=True, done_reason=reason)


def _response(name: str, event: Event) -> GenerateResponse:
    if isinstance(event, Text):
        return GenerateResponse(model=name, created_at=utc_now(), response=event.text, done=False)
    if isinstance(event, Loaded):
        return single(name, "load")
    if not isinstance(event, Finished):
        debug = DebugInfo(event.prompt)
        return GenerateResponse(model=name, created_at=utc_now(), response="", done=False, debug_info=debug)
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


def _refuse_unbuilt(request: GenerateRequest) -> None:
    """Fields that this version does not offer are refused when they ask for something, never ignored."""
    asked = {
        "format": request.format not in (None, ""),
        "images": bool(request.images),
        "suffix": bool(request.suffix),
        "template": bool(request.template),
        "think": request.think not in (None, False),
        "logprobs": bool(request.logprobs),
    }
    for field, given in asked.items():
        if given:
            raise NotBuilt(f'"{field}" is not built yet in this version: leave it out')
