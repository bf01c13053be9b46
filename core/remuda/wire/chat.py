"""`POST /api/chat` on the wire (Ollama API, "Generate a chat completion"). Durations are integer nanoseconds."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from .generate import DebugInfo, Logprob

__all__ = [
    "ChatMessage",
    "ChatRequest",
    "ChatResponse",
    "FunctionCall",
    "Property",
    "ReplyMessage",
    "Tool",
    "ToolCallMessage",
    "ToolFunction",
    "ToolParameters",
]


class FunctionCall(Struct, frozen=True, kw_only=True):
    """A function's name and its arguments, which must be an object and keep their order. `null` counts as absent."""

    index: int | None = 0
    name: str | None = ""
    arguments: dict[str, Any] | None = field(default_factory=dict[str, Any])


class ToolCallMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call in a message."""

    id: str | None = ""
    function: FunctionCall


class ChatMessage(Struct, frozen=True, kw_only=True):
    """One message as the client sent it. `content` is text only; `null` counts as absent."""

    role: str | None = None
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCallMessage] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Property(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The schema of one parameter; keys that are not listed here are dropped."""

    any_of: list[Property] | UnsetType = field(default=UNSET, name="anyOf")
    type: str | list[str] | UnsetType = UNSET
    items: Any = UNSET
    description: str | UnsetType = UNSET
    enum: list[Any] | UnsetType = UNSET
    properties: dict[str, Property] | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET


class ToolParameters(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The schema of a function's parameters."""

    type: str | UnsetType = UNSET
    defs: Any = field(default=UNSET, name="$defs")
    items: Any = UNSET
    required: list[str] | UnsetType = UNSET
    properties: dict[str, Property] | UnsetType = UNSET


class ToolFunction(Struct, frozen=True, kw_only=True):
    """What a tool is called with."""

    name: str = ""
    description: str = ""
    parameters: ToolParameters = field(default_factory=ToolParameters)


class Tool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tool that the model may call."""

    type: str = "function"
    items: Any = UNSET
    function: ToolFunction = field(default_factory=ToolFunction)


class ChatRequest(Struct, frozen=True, kw_only=True):
    """Every field of the protocol, and `tool_choice`, which is Remuda's; `None` is absent or null.

    Fields typed `Any` are checked where they are used, so that the message can say what is allowed.
    """

    model: str | None = None
    messages: list[ChatMessage] | None = None
    stream: bool | None = None
    format: Any = None
    keep_alive: Any = None
    tools: Any = None
    """A list of `Tool`."""
    tool_choice: Any = None
    options: dict[str, Any] | None = None
    think: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: bool | None = field(default=None, name="_debug_render_only")
    logprobs: bool | None = None
    top_logprobs: int | None = None
    progress: bool | None = None


class ReplyMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of the assistant's message; `content` is always there."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[ToolCallMessage] | None = None


class ChatResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the stream, or the whole answer; empty optional fields are left out, in the protocol's order.

    `truncated`, `dropped_tokens` and `cached_tokens` are Remuda's additions.
    """

    model: str
    created_at: str
    message: ReplyMessage
    done: bool
    done_reason: str | None = None
    debug_info: DebugInfo | None = field(default=None, name="_debug_info")
    logprobs: list[Logprob] | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    truncated: bool = False
    dropped_tokens: int = 0
    cached_tokens: int = 0
