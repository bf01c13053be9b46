"""What the scripted upstream (`upstream`) answers when it is of the kind "openai"."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from upstream_http import Reply, Seen
from upstream_ollama import vector

if TYPE_CHECKING:
    from upstream import Upstream

__all__ = ["answer", "error_line"]

_numbers = itertools.count(1)


def error_line(text: str) -> bytes:
    return _event({"error": {"message": text, "type": "server_error", "code": 500}})


async def answer(up: Upstream, seen: Seen) -> Reply:
    if up.key and seen.headers.get("authorization") != f"Bearer {up.key}":
        return _error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    if seen.kind in up.extra:
        return _json(up.extra[seen.kind][1], up.extra[seen.kind][0])
    if seen.kind == "GET /v1/models":
        listed = [{"id": name, "object": "model", "created": 1767323045, "owned_by": up.owned_by} for name in up.models]
        return _json({"object": "list", "data": listed})
    if seen.kind not in {"POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings"}:
        return _error(404, f"Invalid URL ({seen.kind})")
    try:
        asked = json.loads(seen.body)
    except ValueError:
        return _error(400, "We could not parse the JSON body of your request.")
    for field, said in up.refuses.items():
        if field in asked:
            return _error(400, said, code="unsupported_parameter", param=field)
    if asked.get("model") not in up.models:
        return _error(404, f"The model '{asked.get('model')}' does not exist", code="model_not_found")
    if seen.path == "/v1/embeddings":
        return await _embeddings(up, asked)
    return await _completion(up, asked, chat=seen.path == "/v1/chat/completions")


async def _completion(up: Upstream, asked: dict[str, Any], *, chat: bool) -> Reply:
    limit = asked.get("max_tokens") or asked.get("max_completion_tokens")
    words = up.words[:limit]
    ended = "length" if len(words) < len(up.words) else "stop"
    if chat and asked.get("tools") and up.tool_calls:
        ended = "tool_calls"
    usage = {"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)}
    if asked.get("stream"):
        events = _scripted(up, up.events) if up.events is not None else _events(up, asked, words, ended, usage, chat)
        return Reply(200, {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}, events)
    await asyncio.sleep(up.delay * len(words))
    if up.whole is not None:
        return _json(up.whole)
    choice: dict[str, Any] = {"index": 0, "text": "".join(words), "logprobs": None, "finish_reason": ended}
    if chat:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(words)}
        if up.thinking:
            message["reasoning_content"] = "".join(up.thinking)
        if ended == "tool_calls":
            message["tool_calls"] = _calls(up, streamed=False)
        choice = {"index": 0, "message": message, "logprobs": _logprobs(asked, words), "finish_reason": ended}
    return _json({**_frame(asked, chat, ""), "choices": [choice], "usage": usage})


async def _events(
    up: Upstream, asked: dict[str, Any], words: list[str], ended: str, usage: dict[str, int], chat: bool
) -> AsyncGenerator[bytes, None]:
    frame = _frame(asked, chat, ".chunk")

    def event(delta: Any, finish: str | None = None, logprobs: Any = None) -> bytes:
        said = {"delta": delta} if chat else {"text": delta}
        choice = {"index": 0, **said, "logprobs": logprobs, "finish_reason": finish}
        return _event({**frame, "choices": [choice]})

    if chat:
        yield event({"role": "assistant", "content": ""})
        for thought in up.thinking:
            await asyncio.sleep(up.delay)
            yield event({"reasoning_content": thought})
    for word in words:
        await asyncio.sleep(up.delay)
        yield event({"content": word} if chat else word, logprobs=_logprobs(asked, [word]))
    if ended == "tool_calls":
        for call in _calls(up, streamed=True):
            yield event({"tool_calls": [call]})
    yield event({} if chat else "", ended)
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield _event({**frame, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


async def _scripted(up: Upstream, events: list[dict[str, Any] | str | bytes]) -> AsyncGenerator[bytes, None]:
    for each in events:
        await asyncio.sleep(up.delay)
        if isinstance(each, bytes):
            yield each
        else:
            yield _event(each) if isinstance(each, dict) else f"data: {each}\n\n".encode()
    if not events or not isinstance(events[-1], bytes):
        yield b"data: [DONE]\n\n"


async def _embeddings(up: Upstream, asked: dict[str, Any]) -> Reply:
    await asyncio.sleep(up.delay)
    inputs = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    size = asked.get("dimensions") or 8
    data = [{"object": "embedding", "index": i, "embedding": vector(text, size)} for i, text in enumerate(inputs)]
    used = 3 * len(inputs)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return _json({"object": "list", "data": data, "model": asked["model"], "usage": usage})


def _frame(asked: dict[str, Any], chat: bool, suffix: str) -> dict[str, Any]:
    kind = f"chat.completion{suffix}" if chat else "text_completion"
    number = f"{'chatcmpl' if chat else 'cmpl'}-{next(_numbers)}"
    return {"id": number, "object": kind, "created": 1767323045, "model": asked["model"], "system_fingerprint": "fp_1"}


def _calls(up: Upstream, *, streamed: bool) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for index, each in enumerate(up.tool_calls):
        function = each["function"]
        written = {"name": function["name"], "arguments": json.dumps(function["arguments"])}
        call = {"id": each.get("id", f"call_{index}"), "type": "function", "function": written}
        calls.append({"index": index, **call} if streamed else call)
    return calls


def _logprobs(asked: dict[str, Any], words: list[str]) -> dict[str, Any] | None:
    if asked.get("logprobs") is not True:
        return None
    others = asked.get("top_logprobs") or 0
    tokens = [{"token": word, "logprob": -0.5, "bytes": list(word.encode())} for word in words]
    return {"content": [{**token, "top_logprobs": [token] * others} for token in tokens]}


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(value, ensure_ascii=False).encode())


def _error(
    status: int, text: str, kind: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> Reply:
    return _json({"error": {"message": text, "type": kind, "param": param, "code": code}}, status)
