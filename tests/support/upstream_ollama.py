"""What the scripted upstream (`upstream`) answers when it is of the kind "ollama"."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from upstream_http import Reply, Seen

if TYPE_CHECKING:
    from upstream import Upstream

__all__ = ["answer", "error_line", "vector"]

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_MODIFIED = "2026-01-02T03:04:05.678901234+01:00"
_UNTIL = "2318-05-06T07:08:09.000000001+01:00"
_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "1.2B",
    "quantization_level": "Q4_K_M",
}


def error_line(text: str) -> bytes:
    return _line({"error": text})


def vector(text: str, size: int = 8) -> list[float]:
    """What the embedding of that text is here, of length 1."""
    raw = [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:size]]
    length = math.sqrt(sum(x * x for x in raw))
    return [x / length for x in raw]


async def answer(up: Upstream, seen: Seen) -> Reply:
    if up.key and seen.headers.get("authorization") != f"Bearer {up.key}":
        return _error(401, "unauthorized")
    if seen.kind in up.extra:
        return _json(up.extra[seen.kind][1], up.extra[seen.kind][0])
    if seen.path.startswith("/api/blobs/"):
        return _blob(up, seen, seen.path.removeprefix("/api/blobs/"))
    match seen.kind:
        case "GET /" | "HEAD /":
            return Reply(200, {"Content-Type": "text/plain; charset=utf-8"}, b"Ollama is running")
        case "GET /api/version":
            return _json({"version": "0.12.3"})
        case "GET /api/tags":
            return _json({"models": [_tag(name) for name in up.models]})
        case "GET /api/ps":
            return _json({"models": [_tag(name, ps=True) for name in up.loaded]})
        case _ if seen.kind not in _ROUTES:
            return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found")
        case _:
            return await _posted(up, seen)


async def _posted(up: Upstream, seen: Seen) -> Reply:
    try:
        asked = json.loads(seen.body)
    except ValueError:
        return _error(400, "missing request body" if not seen.body else "invalid character 'x' looking for a value")
    for field, said in up.refuses.items():
        if field in asked:
            return _error(400, said)
    return await _ROUTES[seen.kind](up, asked)


def _find(up: Upstream, name: str) -> str | None:
    full = (name if ":" in name.rpartition("/")[2] else f"{name}:latest").lower()
    return next((each for each in up.models if each.lower() in {full, name.lower()}), None)


def _tag(name: str, *, ps: bool = False) -> dict[str, Any]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    entry = {"name": name, "model": name, "size": 1000, "digest": digest, "details": _DETAILS}
    if ps:
        return {**entry, "expires_at": _UNTIL, "size_vram": 900, "context_length": 4096}
    return {**entry, "modified_at": _MODIFIED}


# --- generate, chat, embed


async def _written(up: Upstream, asked: dict[str, Any], *, chat: bool) -> Reply:
    name = asked.get("model", "")
    if _find(up, name) is None:
        return _error(404, f"model '{name}' not found")
    if not asked.get("messages" if chat else "prompt"):
        return await _load(up, asked, chat=chat)
    if _find(up, name) not in up.loaded:
        up.loaded.append(_find(up, name) or name)
    lines = _answer(up, asked, chat=chat)
    if asked.get("stream", True):
        return Reply(200, {"Content-Type": "application/x-ndjson"}, (_line(each) async for each in lines))
    return _json(_joined([each async for each in lines], chat=chat))


async def _load(up: Upstream, asked: dict[str, Any], *, chat: bool) -> Reply:
    name = _find(up, asked["model"]) or ""
    unload = asked.get("keep_alive") in {0, "0", "0s"}
    if unload and name in up.loaded:
        up.loaded.remove(name)
    elif not unload and name not in up.loaded:
        up.loaded.append(name)
    said = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
    ended = {"done": True, "done_reason": "unload" if unload else "load"}
    return _json({"model": asked["model"], "created_at": _now(), **said, **ended})


async def _answer(up: Upstream, asked: dict[str, Any], *, chat: bool) -> AsyncGenerator[dict[str, Any], None]:
    begun = asyncio.get_running_loop().time()
    limit = (asked.get("options") or {}).get("num_predict", -1)
    words = up.words[:limit] if limit > 0 else up.words
    thoughts = up.thinking if asked.get("think") else []

    def line(text: str = "", thinking: str = "", calls: Any = None, **more: Any) -> dict[str, Any]:
        thought = {"thinking": thinking} if thinking else {}
        said: dict[str, Any] = {"response": text, **thought}
        if chat:
            said = {"message": {"role": "assistant", "content": text, **thought}}
            if calls:
                said["message"]["tool_calls"] = calls
        return {"model": asked["model"], "created_at": _now(), **said, "done": False, **more}

    for thought in thoughts:
        await asyncio.sleep(up.delay)
        yield line(thinking=thought)
    for word in words:
        await asyncio.sleep(up.delay)
        logprobs = {"logprobs": [{"token": word, "logprob": -0.5, "bytes": list(word.encode())}]}
        yield line(word, **(logprobs if asked.get("logprobs") else {}))
    if chat and asked.get("tools") and up.tool_calls:
        yield line(calls=up.tool_calls)
    took = int((asyncio.get_running_loop().time() - begun) * 1e9) + 1000
    yield line(
        done=True,
        done_reason="length" if len(words) < len(up.words) else "stop",
        **({} if chat else {"context": [1, 2, 3, *range(10, 10 + len(words))]}),
        total_duration=took,
        load_duration=100,
        prompt_eval_count=5,
        prompt_eval_duration=300,
        eval_count=len(thoughts) + len(words),
        eval_duration=took - 400,
    )


def _joined(lines: list[dict[str, Any]], *, chat: bool) -> dict[str, Any]:
    whole = lines[-1]
    logprobs = [each for line in lines for each in line.get("logprobs", [])]
    if logprobs:
        whole["logprobs"] = logprobs
    said = [line["message"] if chat else line for line in lines]
    into, text = (whole["message"], "content") if chat else (whole, "response")
    into[text] = "".join(each[text] for each in said)
    if thinking := "".join(each.get("thinking", "") for each in said):
        into["thinking"] = thinking
    if calls := [call for each in said for call in each.get("tool_calls", [])]:
        into["tool_calls"] = calls
    return whole


async def _embed(up: Upstream, asked: dict[str, Any]) -> Reply:
    name = asked.get("model", "")
    if _find(up, name) is None:
        return _error(404, f'model "{name}" not found, try pulling it first')
    await asyncio.sleep(up.delay)
    inputs = [asked["input"]] if isinstance(asked.get("input"), str) else asked.get("input") or []
    vectors = [vector(text, asked.get("dimensions") or 8) for text in inputs]
    sizes = {"total_duration": 2000, "load_duration": 100, "prompt_eval_count": 3 * len(inputs)}
    return _json({"model": name, "embeddings": vectors, **sizes})


async def _embeddings(up: Upstream, asked: dict[str, Any]) -> Reply:
    if _find(up, asked.get("model", "")) is None:
        return _error(404, f'model "{asked.get("model", "")}" not found, try pulling it first')
    return _json({"embedding": vector(asked["prompt"]) if asked.get("prompt") else []})


# --- models


async def _show(up: Upstream, asked: dict[str, Any]) -> Reply:
    name = asked.get("model") or asked.get("name", "")
    found = _find(up, name)
    if found is None:
        return _error(404, f"model '{name}' not found")
    info = {
        "general.architecture": "llama",
        "general.parameter_count": 1_200_000_000,
        "llama.context_length": 8192,
        "llama.embedding_length": 8,
    }
    return _json(
        {
            "license": "MIT",
            "modelfile": f"FROM {found}\nTEMPLATE {{{{ .Prompt }}}}\n",
            "parameters": 'stop                           "<|end|>"',
            "template": "{{ .Prompt }}",
            "details": _DETAILS,
            "model_info": info,
            "capabilities": ["completion", "tools"],
            "modified_at": _MODIFIED,
        }
    )


async def _progress(up: Upstream, asked: dict[str, Any], statuses: list[dict[str, Any]], adds: str = "") -> Reply:
    async def lines() -> AsyncGenerator[bytes, None]:
        for each in statuses:
            await asyncio.sleep(up.delay)
            yield _line(each)
        if adds and _find(up, adds) is None:
            up.models.append(adds if ":" in adds.rpartition("/")[2] else f"{adds}:latest")

    if asked.get("stream", True):
        return Reply(200, {"Content-Type": "application/x-ndjson"}, lines())
    whole = [line async for line in lines()]
    return Reply(200, {"Content-Type": "application/json"}, whole[-1].rstrip())


def _layer(verb: str, name: str) -> list[dict[str, Any]]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    part = {"status": f"{verb} {digest[:12]}", "digest": f"sha256:{digest}", "total": 1000}
    return [part, {**part, "completed": 640}, {**part, "completed": 1000}]


async def _pull(up: Upstream, asked: dict[str, Any]) -> Reply:
    name = asked.get("model") or asked.get("name", "")
    layers = _layer("pulling", name)
    texts = ("verifying sha256 digest", "writing manifest", "success")
    rest = [{"status": text} for text in texts]
    return await _progress(up, asked, [{"status": "pulling manifest"}, *layers, *rest], adds=name)


async def _push(up: Upstream, asked: dict[str, Any]) -> Reply:
    name = asked.get("model") or asked.get("name", "")
    if _find(up, name) is None:
        ends = [{"status": "couldn't retrieve manifest"}, {"error": "open the manifest: no such file or directory"}]
        return await _progress(up, asked, [{"status": "retrieving manifest"}, *ends])
    ends = [{"status": "pushing manifest"}, {"status": "success"}]
    return await _progress(up, asked, [{"status": "retrieving manifest"}, *_layer("pushing", name), *ends])


async def _create(up: Upstream, asked: dict[str, Any]) -> Reply:
    name = asked.get("model") or asked.get("name", "")
    missing = [digest for digest in (asked.get("files") or {}).values() if digest not in up.blobs]
    if missing or (asked.get("from") and _find(up, asked["from"]) is None):
        return await _progress(up, asked, [{"error": f"pull model manifest: {asked.get('from') or missing[0]}"}])
    texts = ("parsing GGUF", "writing manifest", "success")
    return await _progress(up, asked, [{"status": text} for text in texts], adds=name)


async def _copy(up: Upstream, asked: dict[str, Any]) -> Reply:
    if _find(up, asked["source"]) is None:
        return _error(404, f'model "{asked["source"]}" not found')
    if _find(up, asked["destination"]) is None:
        name = asked["destination"]
        up.models.append(name if ":" in name.rpartition("/")[2] else f"{name}:latest")
    return Reply(200)


async def _delete(up: Upstream, asked: dict[str, Any]) -> Reply:
    name = asked.get("model") or asked.get("name", "")
    found = _find(up, name)
    if found is None:
        return _error(404, f"model '{name}' not found")
    up.models.remove(found)
    return Reply(200)


def _blob(up: Upstream, seen: Seen, digest: str) -> Reply:
    if seen.method == "HEAD":
        return Reply(200 if digest in up.blobs else 404)
    if digest in up.blobs:
        return Reply(200)
    found = f"sha256:{hashlib.sha256(seen.body).hexdigest()}"
    up.blobs[found] = seen.body
    if found != digest:
        return _error(400, f'digest mismatch, expected "{digest}", got "{found}"')
    return Reply(201)


_ROUTES = {
    "POST /api/generate": lambda up, asked: _written(up, asked, chat=False),
    "POST /api/chat": lambda up, asked: _written(up, asked, chat=True),
    "POST /api/embed": _embed,
    "POST /api/embeddings": _embeddings,
    "POST /api/show": _show,
    "POST /api/pull": _pull,
    "POST /api/push": _push,
    "POST /api/create": _create,
    "POST /api/copy": _copy,
    "DELETE /api/delete": _delete,
}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _line(value: dict[str, Any]) -> bytes:
    return _compact(value) + b"\n"


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, dict(_JSON), _compact(value))


def _error(status: int, text: str) -> Reply:
    return _json({"error": text}, status)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
