"""What the replies of all dialects have in common (Ollama API, "Response", "Log probabilities")."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from ..errors import EngineError
from ..job import Finished, Waiting
from ..output import TokenLogprob
from ..wire import ChatResponse, GenerateResponse, Logprob, ProgressResponse, TopLogprob

__all__ = ["collected", "joined_logprobs", "last_fields", "waiting_line", "wire_logprobs"]

Response = TypeVar("Response", GenerateResponse, ChatResponse)


def last_fields(event: Finished) -> dict[str, Any]:
    """The fields of a stream's last response that do not depend on the dialect."""
    done = event.done
    return {
        "done": True,
        "done_reason": done.reason,
        "total_duration": event.total_ns,
        "load_duration": event.load_ns,
        "prompt_eval_count": done.prompt_tokens,
        "prompt_eval_duration": done.prompt_ns,
        "eval_count": done.output_tokens,
        "eval_duration": done.output_ns,
        "truncated": done.dropped_tokens > 0,
        "dropped_tokens": done.dropped_tokens,
        "cached_tokens": done.cached_tokens,
    }


def waiting_line(event: Waiting) -> ProgressResponse:
    if event.loading is None:
        return ProgressResponse(status="waiting", position=event.position)
    done = int(event.size * event.loading)
    return ProgressResponse(status="loading model", total=event.size, completed=done, position=event.position)


async def collected(stream: AsyncGenerator[Response | ProgressResponse, None]) -> list[Response]:
    """All responses of a stream, at least one. Raises `EngineError` for a stream without an end."""
    async with aclosing(stream):
        parts = [part async for part in stream if not isinstance(part, ProgressResponse)]
    if not parts:
        raise EngineError("the model gave no answer")
    if not parts[-1].done and parts[-1].debug_info is None:
        raise EngineError("the model's answer broke off before its end; try again")
    return parts


def joined_logprobs(parts: Iterable[GenerateResponse] | Iterable[ChatResponse]) -> list[Logprob] | None:
    return [each for part in parts for each in part.logprobs or ()] or None


def wire_logprobs(tokens: Sequence[TokenLogprob]) -> list[Logprob] | None:
    """None for none. `bytes` is left out for a token that leaves none."""
    return [
        Logprob(
            token=_text(token.data),
            logprob=token.logprob,
            bytes=list(token.data) or None,
            top_logprobs=[TopLogprob(_text(top.data), top.logprob, list(top.data) or None) for top in token.top]
            or None,
        )
        for token in tokens
    ] or None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
