"""Requests that nobody would write: each is answered, or refused with a sentence, and none is the server's fault."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx

from remuda.testing import LiveServer

MODELS = ["plain", "thinker", "caller", "filler", "bare", "opened", "tiny", "hole"]
EITHER = [
    *("stream", "format", "keep_alive", "think", "truncate", "shift", "_debug_render_only", "logprobs"),
    *("top_logprobs", "options"),
]
FIELDS = {
    "/api/generate": ["suffix", "system", "template", "context", "raw", "images", *EITHER],
    "/api/chat": ["messages", "tools", "tool_choice", *EITHER],
}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, -(2**70), 1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "json", "required", "none", "low", "\ud800", "\x00", "é🙂", "0", "-1", "5m"),
    *("{{", "{{ .Prompt }}", "{{ range .Messages }}{{ .Content }}{{ end }}", "{{ range 100000000 }}{{ end }}"),
    *([], {}, [None], [[]], {"a": None}, ["x"], [1, 2]),
    *({"type": "object"}, {"type": ["object", "null"]}, {"$ref": "#"}, {"function": {"name": "f"}}, {"role": "user"}),
]
KEYS = [
    *("role", "content", "name", "function", "parameters", "properties", "type", "items", "required", "enum"),
    *("anyOf", "$defs", "arguments", "images", "tool_calls", "stop", "top_k", "seed", "pattern", "grammar", "x"),
]


def _value(dice: random.Random, depth: int = 3) -> Any:
    kind = dice.random()
    if kind < 0.6 or depth == 0:
        return dice.choice(VALUES)
    if kind < 0.62:
        return _nested(dice.choice([50, 300, 900]))
    if kind < 0.8:
        return [_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(KEYS): _value(dice, depth - 1) for _ in range(dice.randrange(5))}


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"items": value}
    return value


def _message(dice: random.Random) -> dict[str, Any]:
    message = {
        "role": dice.choice(["user", "assistant", "system", "tool", ""]),
        "content": dice.choice(["hi", "", None]),
    }
    calls = [{"function": {"name": "f", "arguments": dice.choice([{}, {"x": None}, _value(dice)])}}]
    more = {"tool_calls": calls, "thinking": "t", "tool_name": "f", "images": [], "content": _value(dice, 0)}
    return message | {key: more[key] for key in dice.sample([*more], dice.choice([0, 0, 1]))}


def _tool(dice: random.Random) -> dict[str, Any]:
    schema = {"type": dice.choice(["string", ["integer", "null"], _value(dice, 1)]), "enum": dice.choice([["a"], None])}
    parameters = {"type": "object", "properties": {"x": schema}, "required": dice.choice([["x"], [], None])}
    return {"type": "function", "function": {"name": dice.choice(["f", "g", "", "é b"]), "parameters": parameters}}


def _body(dice: random.Random, endpoint: str) -> bytes:
    body: dict[str, Any] = {"model": dice.choice(MODELS)}
    if endpoint == "/api/chat":
        body["messages"] = [_message(dice) for _ in range(dice.randrange(1, 4))]
        if dice.random() < 0.5:
            body |= {"tools": [_tool(dice)], "tool_choice": dice.choice(["required", "auto", "none", "f"])}
    else:
        body["prompt"] = dice.choice(["hi", "<think>", "\x00"])
    body |= {field: _value(dice) for field in dice.sample(FIELDS[endpoint], dice.choice([0, 0, 1, 1, 2]))}
    options = body.get("options")
    body["options"] = {**(options if isinstance(options, dict) else {}), "num_predict": 5}
    return json.dumps(body).encode()


def test_every_odd_request_is_answered_or_refused(shelved: LiveServer) -> None:
    dice = random.Random(11)
    requests = [(endpoint, _body(dice, endpoint)) for endpoint in FIELDS for _ in range(600)]
    seen = Counter[int]()

    def ask(request: tuple[str, bytes]) -> str:
        endpoint, body = request
        reply = http.post(endpoint, content=body)
        seen[reply.status_code] += 1
        last = json.loads(reply.content.splitlines()[-1])
        whole = last.get("done") or "_debug_info" in last
        if reply.status_code == 200 and whole and "error" not in last:
            return ""
        refused = 400 <= reply.status_code < 500 and list(last) == ["error"] and last["error"]
        return "" if refused else f"{reply.status_code} {last} for {endpoint} {body[:2000]!r}"

    with closing(httpx.Client(base_url=shelved.url, timeout=60)) as http, ThreadPoolExecutor(4) as pool:
        bad = [fault for fault in pool.map(ask, requests) if fault]
    assert not bad, "\n".join(bad[:5])
    assert seen[200] > 300
    assert seen[400] > 300
