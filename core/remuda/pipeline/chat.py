"""`/api/chat`: from request to `Job`, from events to responses (Ollama API, "Generate a chat completion")."""

from __future__ import annotations

import secrets
import string
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import structs

from ..errors import BadRequest, EngineError
from ..job import Event, Finished, Job, Loaded, Message, Rendered, ToolCalls
from ..output import Text, Thinking, ToolCall
from ..wire import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    DebugInfo,
    FunctionCall,
    Options,
    ReplyMessage,
    ToolCallMessage,
    merge_options,
    parse_keep_alive,
    parse_options,
    utc_now,
)
from ..wire.images import MAX_IMAGES, decode_images
from .fields import Known, parse_format, parse_logprobs, parse_think, parse_tool_choice, parse_tools
from .logprobs import wire_logprobs

__all__ = ["chat_responses", "chat_single", "collect_chat", "parse_chat"]

ENDPOINT = "/api/chat"
_ID_LETTERS = string.ascii_lowercase + string.digits


def parse_chat(request: ChatRequest, known: Known, request_id: str) -> Job:
    """Check everything that can be checked before any work, in the protocol's order.

    Raises `BadRequest` or what `Catalog.find` raises.
    """
    keep_alive, think = parse_keep_alive(request.keep_alive), parse_think(request.think)
    said = _said(request.messages or [])
    offered = parse_tools(request.tools)
    logprobs = parse_logprobs(request.logprobs, request.top_logprobs)
    name = request.model or ""
    entry = known.catalog.find(name)
    job = Job(
        request_id=request_id,
        endpoint=ENDPOINT,
        name=name,
        entry=entry,
        options=Options(),
        keep_alive=keep_alive,
        load_only=not said,
    )
    if job.unload:
        return job
    given = dict(request.options or {})
    # Clients of the protocol have no parameter for it; all of them hand on what stands among the options.
    tool_choice = given.pop("tool_choice", None) if request.tool_choice is None else request.tool_choice
    options, ignored = parse_options(given)
    tools, choice = parse_tool_choice(tool_choice, offered)
    system = entry.system if said and said[0].role != "system" else None
    opening = [Message(*each) for each in entry.messages]
    return structs.replace(
        job,
        options=merge_options((entry.options, options)),
        ignored_options=tuple(ignored),
        messages=[*([Message("system", system)] if system else []), *opening, *said],
        tools=tools,
        tool_choice=choice,
        think=think,
        format=parse_format(request.format, known.formats),
        logprobs=logprobs,
        truncate=request.truncate is not False,
        shift=request.shift,
        render_only=bool(request.debug_render_only),
    )


async def chat_responses(name: str, events: AsyncGenerator[Event, None]) -> AsyncGenerator[ChatResponse, None]:
    """One response an event."""
    calls = 0
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolCalls):
                yield _piece(name, "", tool_calls=[_call(call, calls + at) for at, call in enumerate(event.calls)])
                calls += len(event.calls)
            else:
                yield _response(name, event)


async def collect_chat(stream: AsyncGenerator[ChatResponse, None]) -> ChatResponse:
    """The whole answer as one response: the last one's facts with all text and all calls."""
    async with aclosing(stream):
        parts = [part async for part in stream]
    if not parts:
        raise EngineError("the model gave no answer")
    if not parts[-1].done and parts[-1].debug_info is None:
        raise EngineError("the model's answer broke off before its end; try again")
    message = structs.replace(
        parts[-1].message,
        content="".join(part.message.content for part in parts),
        thinking="".join(part.message.thinking for part in parts),
        tool_calls=[call for part in parts for call in part.message.tool_calls or ()] or None,
    )
    logprobs = [each for part in parts for each in part.logprobs or ()] or None
    return structs.replace(parts[-1], message=message, logprobs=logprobs)


def chat_single(name: str, reason: str) -> ChatResponse:
    """The reply to a load or an unload."""
    message = ReplyMessage(role="assistant", content="")
    return ChatResponse(model=name, created_at=utc_now(), message=message, done=True, done_reason=reason)


def _said(messages: list[ChatMessage]) -> list[Message]:
    images = sum(len(message.images or ()) for message in messages)
    if images > MAX_IMAGES:
        raise BadRequest(f"messages hold {images} images; at most {MAX_IMAGES} are allowed")
    return [_message(message) for message in messages]


def _message(message: ChatMessage) -> Message:
    calls = message.tool_calls or ()
    return Message(
        role=(message.role or "").lower(),
        content=message.content or "",
        thinking=message.thinking or "",
        images=decode_images(message.images or []),
        tool_calls=tuple(
            ToolCall(name=call.function.name or "", arguments=call.function.arguments or {}, id=call.id or "")
            for call in calls
        ),
        tool_name=message.tool_name or "",
        tool_call_id=message.tool_call_id or "",
    )


def _call(call: ToolCall, index: int) -> ToolCallMessage:
    id = call.id or "call_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    function = FunctionCall(index=index, name=call.name, arguments=call.arguments)
    return ToolCallMessage(id=id, function=function)


def _piece(
    name: str, content: str, thinking: str = "", tool_calls: list[ToolCallMessage] | None = None
) -> ChatResponse:
    message = ReplyMessage(role="assistant", content=content, thinking=thinking, tool_calls=tool_calls)
    return ChatResponse(model=name, created_at=utc_now(), message=message, done=False)


def _response(name: str, event: Event) -> ChatResponse:
    match event:
        case Text():
            return structs.replace(_piece(name, event.text), logprobs=wire_logprobs(event.logprobs))
        case Thinking():
            return structs.replace(_piece(name, "", event.text), logprobs=wire_logprobs(event.logprobs))
        case Loaded():
            return chat_single(name, "load")
        case Rendered():
            debug = DebugInfo(event.prompt, event.images)
            message = ReplyMessage(role="", content="")
            return ChatResponse(model=name, created_at=utc_now(), message=message, done=False, debug_info=debug)
        case Finished():
            return _last(name, event)
        case ToolCalls():
            raise AssertionError("calls are counted by `chat_responses`")


def _last(name: str, event: Finished) -> ChatResponse:
    done = event.done
    return ChatResponse(
        model=name,
        created_at=utc_now(),
        message=ReplyMessage(role="assistant", content=""),
        done=True,
        done_reason=done.reason,
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
