"""A conversation, and tools, as OpenAI's API writes them (OpenAI API, "Chat", "Function calling")."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from remuda.job import Message
from remuda.output import ToolCall
from remuda.wire import Tool

from .wire import SaidMessage

__all__ = ["said_messages", "said_tools"]

_MAGIC: Final = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"RIFF", "webp"))


def said_messages(messages: Iterable[Message], *, thinking: bool) -> list[SaidMessage]:
    """`thinking`: earlier thinking is sent along, to servers that have a place for it.

    Calls without an id get one, and so do the replies to them: by the name of their tool, else in their order.
    """
    said: list[SaidMessage] = []
    waiting: list[tuple[str, str]] = []  # calls that have no reply yet: id and name
    made = 0
    for message in messages:
        calls: list[Any] = []
        for call in message.tool_calls:
            id = call.id or f"call_{made}"
            made += 1
            waiting.append((id, call.name))
            calls.append(_call(call, id))
        said.append(
            SaidMessage(
                role=message.role,
                content=_content(message),
                tool_calls=calls or UNSET,
                tool_call_id=_answered(message, waiting) if message.role == "tool" else UNSET,
                reasoning_content=message.thinking if thinking and message.thinking else UNSET,
            )
        )
    return said


def said_tools(tools: Iterable[Tool]) -> list[Any]:
    """Each with parameters that are an object: several servers want that also of functions without any."""
    return [_tool(msgspec.to_builtins(tool)) for tool in tools]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.setdefault("function", {})
    function["parameters"] = {"type": "object", "properties": {}, **function.get("parameters", {})}
    return {"type": "function", **tool}


def _call(call: ToolCall, id: str) -> Mapping[str, Any]:
    written = msgspec.json.encode(call.arguments).decode()
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": written}}


def _answered(message: Message, waiting: list[tuple[str, str]]) -> str:
    """The id of the call that a tool's message replies to; that call waits no longer."""
    named = message.tool_call_id
    places = (
        at for at, (id, name) in enumerate(waiting) if (id == named if named else name == (message.tool_name or name))
    )
    at = next(places, None)
    if at is not None:
        return waiting.pop(at)[0]
    return named or "call_0"


def _content(message: Message) -> Any:
    if not message.images:
        return message.content
    pictures = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in message.images]
    return [*([{"type": "text", "text": message.content}] if message.content else []), *pictures]


def _data_url(image: bytes) -> str:
    kind = next((kind for magic, kind in _MAGIC if image.startswith(magic)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
