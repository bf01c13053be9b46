"""`POST /api/generate` on the wire (Ollama API, "Generate a completion"). Durations are integer nanoseconds."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

__all__ = ["DebugInfo", "GenerateRequest", "GenerateResponse", "Logprob", "TopLogprob"]


class GenerateRequest(Struct, frozen=True, kw_only=True):
    """Every field of the protocol, as the client sent it; `None` is absent or null.

    Fields typed `Any` are checked where they are used, so that the message can say what is allowed.
    """

    model: str | None = None
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    stream: bool | None = None
    raw: bool | None = None
    format: Any = None
    keep_alive: Any = None
    images: list[str] | None = None
    options: dict[str, Any] | None = None
    think: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: bool | None = field(default=None, name="_debug_render_only")
    logprobs: bool | None = None
    top_logprobs: int | None = None
    progress: bool | None = None


class TopLogprob(Struct, frozen=True, omit_defaults=True):
    """A token that could have stood here, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(Struct, frozen=True, omit_defaults=True):
    """A generated token: its text, its log probability, its bytes, and the likeliest tokens if they were asked for."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] | None = None


class DebugInfo(Struct, frozen=True, omit_defaults=True):
    rendered_template: str
    image_count: int = 0


class GenerateResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the stream, or the whole answer; empty optional fields are left out, in the protocol's order.

    `truncated`, `dropped_tokens` and `cached_tokens` are Remuda's additions.
    """

    model: str
    created_at: str
    response: str
    thinking: str = ""
    done: bool
    done_reason: str | None = None
    context: list[int] | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    debug_info: DebugInfo | None = field(default=None, name="_debug_info")
    logprobs: list[Logprob] | None = None
    truncated: bool = False
    dropped_tokens: int = 0
    cached_tokens: int = 0
