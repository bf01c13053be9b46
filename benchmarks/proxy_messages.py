"""What clients, proxies and the scripted upstream say to each other: HTTP messages, made once and sent as they are."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias

__all__ = ["MODEL", "PATHS", "REPLIES", "STREAMS", "Dialect", "Stream", "request", "whole"]

Dialect: TypeAlias = Literal["ollama", "openai"]

MODEL = "bench:latest"
PATHS: dict[Dialect, str] = {"ollama": "/api/generate", "openai": "/v1/chat/completions"}
"""Where each dialect asks for text."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_WHEN = "2026-01-02T03:04:05.123456789Z"
_SPENT = {
    "total_duration": 1_000_000,
    "load_duration": 100_000,
    "prompt_eval_count": 5,
    "prompt_eval_duration": 400_000,
    "eval_count": 4,
    "eval_duration": 500_000,
}
_TEXT = "Once upon a time"
_WORD = " upon a time there was a horse"
"""Long enough for a line of some 130 bytes."""


def whole(data: bytes | bytearray) -> int:
    """The length of the HTTP message that `data` begins with; 0 if its end has not come yet."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = bytes(data[:end]).lower()
    if found := _LENGTH.search(head):
        length = end + 4 + int(found[1])
        return length if len(data) >= length else 0
    if b"\r\ntransfer-encoding: chunked" in head:
        last = data.find(_LAST_CHUNK, end + 2)
        return last + len(_LAST_CHUNK) if last >= 0 else 0
    return end + 4


def request(dialect: Dialect, port: int, lines: int = 0) -> bytes:
    """A short question: for one object, or for a stream of so many lines."""
    body: dict[str, Any] = {"model": MODEL, "stream": bool(lines)}
    if dialect == "ollama":
        body |= {"prompt": "Tell me a story.", "options": {"num_predict": lines or 4}}
    else:
        body |= {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": lines or 4}
    payload = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


class Stream:
    """The pieces of a chunked reply, a chunk for each line as model servers send them."""

    def __init__(self, content_type: str, line: bytes, last: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.head = head.encode()
        self.line = _chunk(line)
        self.last = _chunk(last) + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reply(body: dict[str, Any]) -> bytes:
    payload = json.dumps(body, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def _ndjson(part: dict[str, Any], last: dict[str, Any]) -> Stream:
    start = {"model": MODEL, "created_at": _WHEN}
    lines = [json.dumps(start | each, separators=(",", ":")).encode() + b"\n" for each in (part, last)]
    return Stream("application/x-ndjson", *lines)


def _completion(object: str, **choice: Any) -> dict[str, Any]:
    rest = {"index": 0, "finish_reason": None, **choice}
    return {"id": "chatcmpl-1", "object": object, "created": 1_767_322_800, "model": MODEL, "choices": [rest]}


def _sse() -> Stream:
    kind = "chat.completion.chunk"
    part = _completion(kind, delta={"content": _WORD})
    last = _completion(kind, delta={}, finish_reason="stop")
    lines = [f"data: {json.dumps(each, separators=(',', ':'))}\n\n".encode() for each in (part, last)]
    return Stream("text/event-stream", lines[0], lines[1] + b"data: [DONE]\n\n")


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "1B",
    "quantization_level": "Q4_0",
}
_LISTED = {"name": MODEL, "model": MODEL, "size": 1_000_000, "digest": "0" * 64, "details": _DETAILS}
_DONE = {"done": True, "done_reason": "stop", **_SPENT}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
_SAID = {"role": "assistant", "content": _TEXT}

REPLIES = {
    b"/": _reply({}),
    b"/api/version": _reply({"version": "0.12.0"}),
    b"/api/tags": _reply({"models": [{**_LISTED, "modified_at": _WHEN}]}),
    b"/api/ps": _reply({"models": [{**_LISTED, "expires_at": _WHEN, "size_vram": 0, "context_length": 4096}]}),
    b"/api/show": _reply({"details": _DETAILS, "model_info": {}, "capabilities": ["completion"], "modified_at": _WHEN}),
    b"/api/generate": _reply({"model": MODEL, "created_at": _WHEN, "response": _TEXT, **_DONE}),
    b"/api/chat": _reply({"model": MODEL, "created_at": _WHEN, "message": _SAID, **_DONE}),
    b"/v1/models": _reply({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}),
    b"/v1/chat/completions": _reply(
        _completion("chat.completion", message=_SAID, finish_reason="stop") | {"usage": _USAGE}
    ),
}
"""Whole replies by path."""

STREAMS = {
    b"/api/generate": _ndjson({"response": _WORD, "done": False}, {"response": "", **_DONE}),
    b"/api/chat": _ndjson(
        {"message": _SAID | {"content": _WORD}, "done": False}, {"message": _SAID | {"content": ""}, **_DONE}
    ),
    b"/v1/chat/completions": _sse(),
}
"""Streams by path."""
