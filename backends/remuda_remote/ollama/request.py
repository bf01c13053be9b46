"""A job as a request of the Ollama API, with nothing in it that nobody asked for: what a request leaves open, the
upstream's own model decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, structs

from remuda.backend import EmbedJob
from remuda.errors import BadRequest
from remuda.job import Job, Message
from remuda.wire import Tool, merge_options
from remuda.wire.chat import ToolFunction

__all__ = ["GENERATE", "embedding", "encoded", "weight"]

GENERATE: Final = "/api/generate"
CHAT: Final = "/api/chat"


class _Function(Struct, frozen=True, kw_only=True):
    index: int
    name: str
    arguments: dict[str, Any]


class _Call(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str = ""
    function: _Function


class _Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes become base64 on their way out."""

    role: str
    content: str
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[_Call, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class _Tool(Struct, frozen=True, kw_only=True):
    """As `remuda.wire.Tool`, but its type is always told: other servers put it into the prompt as it comes."""

    type: str
    items: Any = UNSET
    function: ToolFunction


class _Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    model: str
    stream: bool
    options: dict[str, Any] | None = None
    keep_alive: float | None = None
    think: bool | str | None = None
    format: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    progress: bool | None = None
    debug_render_only: bool | None = msgspec.field(default=None, name="_debug_render_only")


class _Generate(_Request, frozen=True, kw_only=True, omit_defaults=True):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: tuple[bytes, ...] | None = None


class _Chat(_Request, frozen=True, kw_only=True, omit_defaults=True):
    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None
    tool_choice: Any = None


class _Embed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    model: str
    input: list[str]
    truncate: bool | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | None = None


def encoded(job: Job, model: str, upstream: str) -> tuple[str, bytes]:
    """The path of the request that says what `job` does, and its body. May take a while; see `weight`.

    Raises `BadRequest` for a job that no request can say, which only filters can make, and for one that is nested too
    deeply.
    """
    common = {"model": model, "stream": True, **_common(job)}
    only, question = _only_generate(job), _question(job)
    if question is None and only:
        raise BadRequest(
            f"upstream '{upstream}' cannot do {only} with a conversation: it takes one message of the user, and one of "
            "the system before it"
        )
    if question is None or not (only or job.endpoint == GENERATE):
        return CHAT, _json(_chat(job, common))
    return GENERATE, _json(_generate(job, common, *question))


def weight(job: Job) -> int:
    """About how many bytes its request will have."""
    return len(job.prompt or "") + sum(len(each.content) + sum(map(len, each.images)) for each in job.messages)


def embedding(job: EmbedJob, model: str, options: Mapping[str, Any], keep_alive: float | None) -> bytes:
    """The body of the request of `/api/embed`."""
    asked = _Embed(
        model=model,
        input=job.inputs,
        truncate=None if job.truncate else False,
        options=dict(options) or None,
        keep_alive=_seconds(keep_alive),
    )
    return msgspec.json.encode(asked)


def _json(request: Struct) -> bytes:
    try:
        return msgspec.json.encode(request)
    except RecursionError:  # it could be read, but with fewer calls under way
        raise BadRequest("invalid request: nested too deeply") from None


def _seconds(keep_alive: float | None) -> float | None:
    """As the API writes it: for ever is less than nothing."""
    return -1 if keep_alive == math.inf else keep_alive


def _common(job: Job) -> dict[str, Any]:
    return {
        "options": _options(job) or None,
        "keep_alive": _seconds(job.keep_alive),
        "think": job.think,
        "format": job.format,
        "truncate": None if job.truncate else False,
        "shift": job.shift,
        "logprobs": None if job.logprobs is None else True,
        "top_logprobs": job.logprobs or None,
        "progress": job.progress or None,
        "debug_render_only": job.render_only or None,
    }


def _options(job: Job) -> dict[str, Any]:
    """Those of the request, and those that a filter changed in `job.options` afterwards."""
    if job.unload:
        return {}
    before = merge_options((job.entry.options, job.given))
    now = structs.asdict(job.options)
    changed = {name: value for name, value in now.items() if value is not None and value != getattr(before, name)}
    return {**job.given, **changed}


def _only_generate(job: Job) -> str:
    """A field of the job that only `/api/generate` has; empty for none."""
    fields = {"raw": job.prompt is not None, "suffix": job.suffix, "template": job.template, "context": job.context}
    return next((name for name, there in fields.items() if there), "")


def _question(job: Job) -> tuple[str, Message] | None:
    """The system's text and the user's message, if there is no more to it than that."""
    if job.prompt is not None:
        return "", Message("user", job.prompt, images=tuple(job.images))
    if job.tools:
        return None
    match job.messages:
        case []:
            system, user = "", Message("user", "")
        case [user]:
            system = ""
        case [Message(role="system") as first, user] if first == Message("system", first.content):
            system = first.content
        case _:
            return None
    return (system, user) if user == Message("user", user.content, images=user.images) else None


def _generate(job: Job, common: dict[str, Any], system: str, user: Message) -> _Generate:
    return _Generate(
        prompt=user.content or None,
        suffix=job.suffix or None,
        system=system or None,
        template=job.template or None,
        context=job.context or None,
        raw=True if job.prompt is not None else None,
        images=user.images or None,
        **common,
    )


def _chat(job: Job, common: dict[str, Any]) -> _Chat:
    choice: Any = job.tool_choice
    if choice:  # not by the bare name, which may be one of the words that mean something else
        choice = {"type": "function", "function": {"name": choice}}
    elif choice is not None:
        choice = "required"
    return _Chat(
        messages=None if job.load_only else [_message(each) for each in job.messages],
        tools=[_tool(each) for each in job.tools] or None,
        tool_choice=choice,
        **common,
    )


def _message(message: Message) -> _Message:
    return _Message(
        role=message.role,
        content=message.content,
        thinking=message.thinking,
        images=message.images,
        tool_calls=tuple(
            _Call(id=call.id, function=_Function(index=index, name=call.name, arguments=call.arguments))
            for index, call in enumerate(message.tool_calls)
        ),
        tool_name=message.tool_name,
        tool_call_id=message.tool_call_id,
    )


def _tool(tool: Tool) -> _Tool:
    return _Tool(type=tool.type, items=tool.items, function=tool.function)
