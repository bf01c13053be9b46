"""From a job to the request that a server of OpenAI's API gets, or to the reason why it cannot be had there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from remuda.errors import BadRequest
from remuda.job import Job
from remuda.wire import Tool

from ..member import Member
from .flavour import Flavour, Learned
from .formats import bound_by
from .messages import said_messages, said_tools
from .options import option_fields
from .wire import Asked

__all__ = ["CHAT", "COMPLETIONS", "Request", "demands_call", "request_for"]

CHAT: Final = "/chat/completions"
COMPLETIONS: Final = "/completions"
_EFFORTS: Final = {"max": "high"}
"""By levels that the API does not have."""
_TYPES: Final = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))


class Request(Struct, frozen=True):
    path: str
    """Behind `/v1`."""
    asked: Asked
    body: bytes
    """`asked` as JSON."""
    format: str = ""
    """How `asked` has the server keep to the format; empty if it does not: there is none, or the server cannot."""


def request_for(job: Job, model: str, member: Member, flavour: Flavour, learned: Learned) -> Request:
    """Raises `BadRequest` naming upstream and field for what the server cannot do. Where it cannot keep an answer to a
    format, the request is there without one, for whoever can check the answer (`emulate`). Raises `RecursionError`."""
    _refuse(job, member)
    raw = job.prompt is not None or bool(job.suffix)
    fields = option_fields(job.given, flavour, member)
    if learned.completion_tokens and "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    if not learned.no_usage:
        fields["stream_options"] = {"include_usage": True}
    asked = Asked(model=model, stream=True, **fields)
    asked = _completion(asked, job, member, flavour) if raw else _chat(asked, job, member, flavour)
    path, kind = (COMPLETIONS if raw else CHAT), ""
    if job.format is not None:
        asked, kind = bound_by(asked, job.format, flavour, learned, raw=raw)
    return Request(path, asked, msgspec.json.encode(asked), kind)


def demands_call(job: Job) -> bool:
    """A call of a tool must come."""
    return bool(job.tools) and job.tool_choice is not None


def _refuse(job: Job, member: Member) -> None:
    """What has no place in the API at all."""
    for field, there, why in (
        ("template", job.template, "prompts are rendered there, by a template of its own"),
        ("context", job.context, "it takes text, not tokens; send the conversation to /api/chat"),
        ("_debug_render_only", job.render_only, "prompts are rendered there"),
        ("raw", job.prompt is not None and job.images, "it takes images in conversations only"),
        ("suffix", job.suffix and job.images, "it takes images in conversations only"),
        ("suffix", job.suffix and len(job.messages) > 1, "it takes no system message beside it"),
    ):
        if there:
            raise BadRequest(f"upstream '{member.name}' cannot do \"{field}\": {why}")
    format: Any = job.format
    kind = cast(dict[str, Any], format).get("type") if isinstance(format, dict) else None
    if (isinstance(format, str) and format != "json") or (isinstance(kind, str) and kind not in _TYPES):
        raise BadRequest(f'upstream \'{member.name}\' cannot do this "format": it takes "json" and JSON Schemas')


def _completion(asked: Asked, job: Job, member: Member, flavour: Flavour) -> Asked:
    if job.suffix and not flavour.suffix:
        raise BadRequest(f"upstream '{member.name}' cannot do \"suffix\": {flavour.name} does not take it here")
    prompt = job.prompt if job.prompt is not None else job.messages[-1].content
    suffix: str | UnsetType = job.suffix or UNSET
    logprobs: int | UnsetType = UNSET if job.logprobs is None else max(job.logprobs, 1)
    return structs.replace(asked, prompt=prompt, suffix=suffix, logprobs=logprobs)


def _chat(asked: Asked, job: Job, member: Member, flavour: Flavour) -> Asked:
    asked = structs.replace(
        asked,
        messages=said_messages(job.messages, thinking=flavour.thinking == "template"),
        logprobs=UNSET if job.logprobs is None else True,
        # Of 0, llama-server makes none at all.
        top_logprobs=UNSET if job.logprobs is None else max(job.logprobs, 1),
    )
    if job.tools:
        tools, choice = _tools(job, member, flavour)
        asked = structs.replace(asked, tools=said_tools(tools), tool_choice=choice)
    return _thinking(asked, job, member, flavour)


def _tools(job: Job, member: Member, flavour: Flavour) -> tuple[Sequence[Tool], Any]:
    """The tools to be sent, and what to say of the choice among them."""
    name = job.tool_choice
    if name is None:
        return job.tools, UNSET
    if not name and flavour.forces == "one":
        if len(job.tools) > 1:
            raise BadRequest(
                f"upstream '{member.name}' cannot do \"tool_choice\" without a name: name one of the tools"
            )
        name = next(tool.function.name for tool in job.tools)
    if name and flavour.forces == "any":
        # It takes a name for no choice at all. So the model gets to know of this tool only.
        return [tool for tool in job.tools if tool.function.name == name], "required"
    return job.tools, {"type": "function", "function": {"name": name}} if name else "required"


def _thinking(asked: Asked, job: Job, member: Member, flavour: Flavour) -> Asked:
    think = job.think
    if flavour.thinking == "template" and think is not None:
        level = {"reasoning_effort": _EFFORTS.get(think, think)} if isinstance(think, str) else {}
        return structs.replace(asked, chat_template_kwargs={"enable_thinking": think is not False, **level})
    if not think:
        return asked
    if flavour.thinking == "none":
        raise BadRequest(f"upstream '{member.name}' cannot do \"think\": {flavour.name} has no place for it")
    return structs.replace(asked, reasoning_effort=_EFFORTS.get(think, think) if isinstance(think, str) else "medium")
