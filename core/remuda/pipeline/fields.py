"""What the requests of all dialects have in common: each field checked, with the protocol's words (Ollama API)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct, structs

from ..errors import BadRequest
from ..hookspecs import Asking
from ..job import Client, Job
from ..model import Catalog, ModelEntry
from ..wire import (
    ChatRequest,
    GenerateRequest,
    Options,
    Tool,
    merge_options,
    parse_keep_alive,
    parse_options,
)

__all__ = [
    "LEVELS",
    "Known",
    "asking_of",
    "begun",
    "parse_format",
    "parse_logprobs",
    "parse_think",
    "parse_tool_choice",
    "parse_tools",
    "with_wishes",
]

LEVELS = ("high", "medium", "low", "max")
"""How hard to think, where a model knows degrees (Ollama API, "think")."""
_MAX_TOP_LOGPROBS = 20


class Known(Struct, frozen=True):
    """What names in a request can refer to."""

    catalog: Catalog
    formats: frozenset[str]
    entry: ModelEntry | None = None
    """The model of this request, where it was found a moment ago. Nothing blocks then."""

    def model(self, name: str) -> ModelEntry:
        """The model to be used. Blocking. Raises what `Catalog.find` raises, and `BadRequest` for one with a fault."""
        if self.entry is not None:
            return self.entry
        entry = self.catalog.find(name)
        if entry.fault:
            raise BadRequest(entry.fault)
        return entry


def asking_of(request_id: str, endpoint: str, model: str, client: Client) -> Asking:
    """What plugins are told of a request before it is queued; `model` as the client typed it."""
    return Asking(request_id=request_id, endpoint=endpoint, model=model, address=client.address, key=client.key)


def begun(
    request: GenerateRequest | ChatRequest,
    known: Known,
    request_id: str,
    client: Client,
    endpoint: str,
    upstreams: tuple[str, ...],
    *,
    load_only: bool,
) -> Job:
    """A job with its model found, and no more in it than every request has. Blocking.

    Raises `BadRequest` or what `Catalog.find` raises.
    """
    keep_alive, think = parse_keep_alive(request.keep_alive), parse_think(request.think)
    logprobs = parse_logprobs(request.logprobs, request.top_logprobs)
    name = request.model or ""
    return Job(
        request_id=request_id,
        endpoint=endpoint,
        name=name,
        client=client,
        upstreams=upstreams,
        progress=bool(request.progress) and request.stream is not False,
        entry=known.model(name),
        options=Options(),
        keep_alive=keep_alive,
        think=think,
        logprobs=logprobs,
        truncate=request.truncate is not False,
        shift=request.shift,
        load_only=load_only,
        render_only=bool(request.debug_render_only),
    )


def with_wishes(job: Job, options: Mapping[str, Any], format: Any, known: Known) -> Job:
    """The job with the options and the format of its request, checked."""
    given, ignored = parse_options(options)
    return structs.replace(
        job,
        options=merge_options((job.entry.options, given)),
        given=given,
        ignored_options=tuple(ignored),
        format=parse_format(format, known.formats),
    )


def parse_logprobs(wanted: bool | None, top: int | None) -> int | None:
    """How many likeliest tokens to tell; None if no log probabilities are wanted. `top` is checked in any case."""
    if not 0 <= (top or 0) <= _MAX_TOP_LOGPROBS:
        raise BadRequest(f"top_logprobs must be between 0 and {_MAX_TOP_LOGPROBS}")
    return (top or 0) if wanted else None


def parse_think(value: Any) -> bool | str | None:
    allowed = '"high", "medium", "low", "max", true, or false'
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise BadRequest(f"think must be a boolean or string ({allowed})")
    if value not in LEVELS:
        raise BadRequest(f'invalid think value: "{value[:80]}" (must be {allowed})')
    return value


def parse_format(value: Any, known: Collection[str]) -> Any:
    """`value` if it is an object or the name of one of the formats `known`; None for none."""
    if value is None or value == "":
        return None
    if isinstance(value, dict) or (isinstance(value, str) and value in known):
        return cast(Any, value)
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":"))[:200]
    quoted = json.dumps(raw, ensure_ascii=False)
    raise BadRequest(f'invalid format: {quoted}; expected "json" or a valid JSON Schema object')


def parse_tools(value: Any) -> tuple[Tool, ...]:
    """The tools of a request. `null` counts as absent at every depth: Go's clients write it for an empty list."""
    try:
        return tuple(msgspec.convert(_without_nulls(value), list[Tool])) if value is not None else ()
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid request: tools: {error}") from None
    except RecursionError:
        raise BadRequest("invalid request: tools: nested too deeply") from None


def parse_tool_choice(value: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], str | None]:
    """The tools that remain, and what is demanded (see `Job.tool_choice`).

    `auto` (as absent), `none`, `required`, a tool's name, or `{"type": "function", "function": {"name": ...}}`.
    """
    names = [tool.function.name for tool in tools]
    if isinstance(value, dict):
        function = cast(dict[str, Any], value).get("function")
        name = cast(dict[str, Any], function).get("name") if isinstance(function, dict) else None
        if name in names:
            return tools, cast(str, name)
    elif value is None or value == "auto":
        return tools, None
    elif value == "none":
        return (), None
    elif isinstance(value, str) and (value in names or (value == "required" and tools)):
        return tools, "" if value == "required" else value
    there = ", ".join(json.dumps(name, ensure_ascii=False) for name in names[:20]) or "none"
    raise BadRequest(
        f'invalid tool_choice: it must be "auto", "none", "required" or the name of a tool of this request ({there})'
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        members = cast(dict[str, Any], value).items()
        return {key: _without_nulls(member) for key, member in members if member is not None}
    return [_without_nulls(member) for member in cast(list[Any], value)] if isinstance(value, list) else value
