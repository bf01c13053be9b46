"""A client that costs little: it shares the cores with what it measures. Raw HTTP/1.1, one connection a stream."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

from .measure import Run

__all__ = ["run_streams"]


async def run_streams(url: str, model: str, prompts: list[str], tokens: int, format: Any = None) -> Run:
    """All prompts at once, greedily, `tokens` each, of any text or of the `format`.

    Raises `RuntimeError` when a stream is not what was asked for.
    """
    connections = [await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port) for _ in prompts]
    began = time.perf_counter()
    results = await asyncio.gather(
        *(
            _stream(*connection, {"model": model, "prompt": prompt, "format": format}, tokens)
            for connection, prompt in zip(connections, prompts, strict=True)
        )
    )
    seconds = time.perf_counter() - began
    return Run(len(prompts), sum(count for _, count in results), seconds, [first - began for first, _ in results])


async def _stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: dict[str, Any], tokens: int
) -> tuple[float, int]:
    """The moment of the first token, and how many came."""
    options = {"temperature": 0, "num_predict": tokens, "num_ctx": 1024}
    body = json.dumps({**request, "raw": True, "options": options}).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    first, last = 0.0, b""
    try:
        while chunk := await reader.read(65536):
            if not first and b'"response"' in chunk:
                first = time.perf_counter()
            last = (last + chunk)[-65536:]
    finally:
        writer.close()
    return first, _count(last, tokens)


def _count(end: bytes, tokens: int) -> int:
    lines = [line for line in end.split(b"\n") if line.startswith(b'{"') and line.rstrip().endswith(b"}")]
    final: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if not final.get("done") or final.get("eval_count") != tokens:
        raise RuntimeError(f"a stream ended unlike asked: {(lines or [end])[-1][:300]!r}")
    return tokens
