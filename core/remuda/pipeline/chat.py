"""`/api/chat`: from request to `Job`, from events to responses (Ollama API, "Generate a chat completion")."""

from __future__ import annotations

import secrets
import string
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import structs

from ..errors import BadRequest
from ..job import NOBODY, Client, Event, Finished, Job, Loaded, Message, Rendered, ToolCalls, Waiting
from ..output import Text, Thinking, ToolCall
from ..wire import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    DebugInfo,
    FunctionCall,
    ProgressResponse,
    ReplyMessage,
    ToolCallMessage,
    utc_now,
)
from ..wire.images import MAX_IMAGES, decode_images
from .fields import Known, begun, parse_tool_choice, parse_tools, with_wishes
from .replies import collected, joined_logprobs, last_fields, waiting_line, wire_logprobs

__all__ = ["chat_responses", "chat_single", "collect_chat", "parse_chat"]

ENDPOINT = "/api/chat"
_ID_LETTERS = string.ascii_lowercase + string.digits


def parse_chat(
    request: ChatRequest, known: Known, request_id: str, client: Client = NOBODY, upstreams: tuple[str, ...] = ()
) -> Job:
    """Check everything that can be checked before any work, in the protocol's order.

    Raises `BadRequest` or what `Catalog.find` raises.
    """
    said = _said(request.messages or [])
    offered = parse_tools(request.tools)
    job = begun(request, known, request_id, client, ENDPOINT, upstreams, load_only=not said)
    if job.unload:
        return job
    given = dict(request.options or {})
    # Clients of the protocol have no parameter for it; all of them hand on what stands among the options.
    tool_choice = given.pop("tool_choice", None) if request.tool_choice is None else request.tool_choice
    job = with_wishes(job, given, request.format, known)
    tools, choice = parse_tool_choice(tool_choice, offered)
    system = job.entry.system if said and said[0].role != "system" else None
    opening = [Message(*each) for each in job.entry.messages]
    return structs.replace(
        job,
        messages=[*([Message("system", system)] if system else []), *opening, *said],
        tools=tools,
        tool_choice=choice,
    )


async def chat_responses(
    name: str, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[ChatResponse | ProgressResponse, None]:
    """One response an event."""
    calls = 0
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolCalls):
                yield _piece(name, "", tool_calls=[_call(call, calls + at) for at, call in enumerate(event.calls)])
                calls += len(event.calls)
            elif isinstance(event, Waiting):
                yield waiting_line(event)
            else:
                yield _response(name, event)


async def collect_chat(stream: AsyncGenerator[ChatResponse | ProgressResponse, None]) -> ChatResponse:
    """The whole answer as one response: the last one's facts with all text and all calls."""
    parts = await collected(stream)
    message = structs.replace(
        parts[-1].message,
        content="".join(part.message.content for part in parts),
        thinking="".join(part.message.thinking for part in parts),
        tool_calls=[call for part in parts for call in part.message.tool_calls or ()] or None,
    )
    return structs.replace(parts[-1], message=message, logprobs=joined_logprobs(parts))


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
            message = ReplyMessage(role="assistant", content="")
            return ChatResponse(model=name, created_at=utc_now(), message=message, **last_fields(event))
        case ToolCalls() | Waiting():
            raise AssertionError("`chat_responses` does these itself")
