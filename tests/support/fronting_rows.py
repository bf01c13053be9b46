"""Requests of the protocol, good and bad, for comparing what two ways to the same models answer.

Each is a path and a body: an object, to which `stream` is added both ways where it says nothing of it, or bytes that go
as they are. `MODEL` stands for a model that writes text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

__all__ = ["MODEL", "Row", "chat_rows", "demo_rows", "embed_rows", "generate_rows", "rows_with"]

MODEL = "MODEL"
SHORT = {"temperature": 0, "num_predict": 3}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0" + bytes(64)).decode()
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

Row: TypeAlias = tuple[str, dict[str, Any] | bytes]
"""A name, and the body."""

EITHER: list[tuple[str, list[Any]]] = [
    (
        "options",
        [{"seed": 7}, {"stop": ["wo", "x"]}, {"top_k": 1, "top_p": 0.5, "min_p": 0.1, "num_ctx": 64}, {}, None],
    ),
    ("options", [{"num_predict": 0}, {"num_predict": 1.9}, {"repeat_penalty": 1.1, "nonsense": 1, "typical_p": 0.9}]),
    ("options", [[], "x", {"stop": "x"}, {"temperature": "hot"}, {"num_ctx": "many"}, {"seed": True}]),
    ("format", ["", "json", SCHEMA, None, "xml", 5, True, ["json"], {"type": "integer", "minimum": "low"}]),
    ("keep_alive", ["5m", 30, "1h30m", 1.5, None, "soon", "300", True, [], {}]),
    ("think", [False, None, True, "low", "hard", 5, []]),
    ("truncate", [True, False, "yes"]),
    ("shift", [True, False, 0]),
    ("logprobs", [False, True, 1]),
    ("top_logprobs", [0, 5, 21, -1, "x", 1.5]),
    ("_debug_render_only", [False, True, "yes"]),
    ("stream", ["yes", 1, None]),
    ("unknown_field", [1, {"a": None}]),
    ("model", [5, None, "", "a//b", "nope", "Nope:7b", "x:cloud", "x:local:cloud"]),
]
ONLY_GENERATE: list[tuple[str, list[Any]]] = [
    ("prompt", [5, ["x"], None, "p" * 600, "é🙂\u0000", "<think>"]),
    ("suffix", ["", "b", 5]),
    ("system", ["", "Be brief.", {}]),
    ("template", ["", "<{{ .System }}|{{ .Prompt }}>", "{{ .Prompt ", "{{ frobnicate .Prompt }}", []]),
    ("context", [[], [65, 66], "x", ["x"], [1.5], [-1], [2**64], [2**31 - 1]]),
    ("raw", [True, False, "no"]),
    ("images", [[], [PNG], ["aGk"], ["aGk="], "x", [5]]),
]
ONLY_CHAT: list[tuple[str, list[Any]]] = [
    ("messages", [5, {}, [5], [{}], [{"role": "robot", "content": "hi"}], [{"role": "user", "content": 5}], None]),
    ("messages", [[{"role": "user", "content": "hi", "images": [PNG]}], [{"role": "user", "content": "hi", "x": 1}]]),
    ("messages", [[{"role": "system", "content": "S"}, {"role": "user", "content": "a"}]]),
    (
        "messages",
        [
            [
                {"role": "user", "content": "weather?"},
                {
                    "role": "assistant",
                    "content": "",
                    "thinking": "hm",
                    "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}],
                },
                {"role": "tool", "tool_name": "get_weather", "content": "rain"},
            ]
        ],
    ),
    ("tools", [[], [TOOL], [5], {}, [{"type": "function"}]]),
    ("tool_choice", ["auto", "none", "required", "nobody", 5]),
]
QUESTION: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "hi"},
    "/api/chat": {"messages": [{"role": "user", "content": "hi"}]},
}


def rows_with(path: str, fields: list[tuple[str, list[Any]]], model: str) -> Iterator[Row]:
    """For each value of each field the request that has it."""
    for field, values in fields:
        for value in values:
            body = {"model": model, "options": SHORT, **QUESTION[path], field: value}
            yield f"{field}={json.dumps(value)[:30]}", body


def _special(path: str, model: str) -> Iterator[Row]:
    question = QUESTION[path]
    [name] = question
    base = {"model": model, "options": SHORT, **question}
    yield "load", {"model": model}
    yield "load with keep_alive", {"model": model, "keep_alive": "10m"}
    yield "load of nobody", {"model": "nope"}
    yield "unload of nobody", {"model": "nope", "keep_alive": 0}
    yield "empty question", {"model": model, name: type(question[name])()}
    yield "no body", b""
    yield "no JSON", b"{"
    yield "a list", b"[]"
    yield "words", b"hello"
    yield "null", b"null"
    yield "not UTF-8", b'{"model": "\xff"}'
    yield "deep", b'{"model": "' + model.encode() + b'", "options": ' + b'{"a":' * 300 + b"1" + b"}" * 301
    yield "spaces", b"  " + json.dumps({**base, "stream": False}).encode() + b"\n\n"
    yield "twice", json.dumps({**base, "stream": False}).encode()[:-1] + b', "stream": false, "options": {"seed": 1}}'
    yield "model twice", b'{"model": "nope", ' + json.dumps({**base, "stream": False}).encode()[1:]
    yield "in other case", json.dumps({key.upper(): value for key, value in {**base, "stream": False}.items()}).encode()
    yield "more behind", json.dumps({**base, "stream": False}).encode() + b" {}"
    yield "typed otherwise", {**base, "model": f" {model.upper()} "}
    yield "with logprobs", {**base, "logprobs": True, "top_logprobs": 2}
    yield "thinks", {**base, "model": "thinker", "options": {}}
    yield "thinks not", {**base, "model": "thinker", "think": False, "options": {}}
    yield "fails", {**base, "model": "fails", "options": {}}
    yield "opened", {**base, "model": "opened", "options": {}}
    yield "an embedder", {**base, "model": "embedder"}


def generate_rows(model: str = MODEL) -> list[Row]:
    base = {"model": model, "options": SHORT, "prompt": "hi"}
    more: list[Row] = [
        ("raw and system", {**base, "raw": True, "system": "s"}),
        ("raw and template", {**base, "raw": True, "template": "{{ .Prompt }}"}),
        ("raw and context", {**base, "raw": True, "context": [65]}),
        ("raw and debug", {**base, "raw": True, "_debug_render_only": True}),
        ("system and debug", {**base, "system": "s", "_debug_render_only": True}),
        ("a hole", {**base, "model": "hole", "suffix": "b"}),
        ("a hole, seen", {**base, "model": "filler", "suffix": "b", "_debug_render_only": True}),
        ("unload", {"model": model, "keep_alive": 0}),
        ("load again", {"model": model}),
    ]
    path = "/api/generate"
    return [*rows_with(path, [*EITHER, *ONLY_GENERATE], model), *_special(path, model), *more]


def chat_rows(model: str = MODEL) -> list[Row]:
    base = {"model": model, "options": SHORT, **QUESTION["/api/chat"]}
    more: list[Row] = [
        ("calls", {**base, "model": "caller", "tools": [TOOL], "options": {}}),
        ("calls, required", {**base, "model": "caller", "tools": [TOOL], "tool_choice": "required", "options": {}}),
        ("calls that one", {**base, "model": "caller", "tools": [TOOL], "tool_choice": "get_weather", "options": {}}),
        ("tools for one that cannot", {**base, "tools": [TOOL]}),
        ("tools, seen", {**base, "model": "caller", "tools": [TOOL], "_debug_render_only": True}),
        ("unload", {"model": model, "keep_alive": 0}),
        ("unload with messages", {"model": model, "messages": [], "keep_alive": 0}),
    ]
    path = "/api/chat"
    return [*rows_with(path, [*EITHER, *ONLY_CHAT], model), *_special(path, model), *more]


def embed_rows(model: str) -> list[tuple[str, Row]]:
    """With their paths."""
    inputs = ["the cat", ["a", "the dog ran"], [], "", [""], 5, [5], None, "cat " * 100, ["a"] * 20]
    fields: list[dict[str, Any]] = [
        *({"truncate": False, "input": "cat " * 100}, {"truncate": True}, {"truncate": "x"}, {"dimensions": 4}),
        *({"dimensions": -1}, {"dimensions": "x"}, {"keep_alive": "soon"}, {"options": {"num_ctx": 64}}),
        *({"options": []}, {"model": None}, {"model": "nope"}, {"model": "a//b"}, {"unknown": 1}, {"keep_alive": "5m"}),
    ]
    rows: list[tuple[str, Row]] = [
        *(("/api/embed", (f"input={json.dumps(each)[:20]}", {"model": model, "input": each})) for each in inputs),
        *(("/api/embed", (json.dumps(each)[:40], {"model": model, "input": "the cat", **each})) for each in fields),
        *(
            ("/api/embeddings", (f"prompt={json.dumps(each)[:20]}", {"model": model, "prompt": each}))
            for each in inputs
        ),
    ]
    for path in ("/api/embed", "/api/embeddings"):
        rows += [(path, ("no body", b"")), (path, ("no JSON", b"{")), (path, ("load", {"model": model}))]
    shows: list[dict[str, Any] | bytes] = [
        *({"model": model}, {"name": model}, {"model": model, "verbose": True}, {"model": model, "system": "S"}),
        *({"model": "nope"}, {"model": "a//b"}, {"model": ""}, {"model": 5}, {}, b"", b"{", {"model": "opened"}),
        *({"model": "tiny"}, {"model": model, "options": {"top_k": 1}}),
    ]
    return [*rows, *(("/api/show", (str(each)[:40], each)) for each in shows)]


def demo_rows(model: str) -> list[tuple[str, Row]]:
    """A dozen, of all kinds."""
    two = {"model": model, "options": {"temperature": 0, "num_predict": 2}}
    ask, talk = {**two, "prompt": "One, two,"}, {**two, **QUESTION["/api/chat"]}
    return [
        ("/api/generate", ("plain", ask)),
        ("/api/generate", ("raw", {**ask, "raw": True})),
        ("/api/generate", ("system", {**ask, "system": "Be brief."})),
        ("/api/generate", ("template", {**ask, "template": "{{ .Prompt }}"})),
        ("/api/generate", ("schema", {**ask, "format": SCHEMA, "options": {"temperature": 0, "num_predict": 8}})),
        ("/api/generate", ("seen", {**ask, "_debug_render_only": True})),
        ("/api/generate", ("logprobs", {**ask, "logprobs": True, "top_logprobs": 3})),
        ("/api/generate", ("stop", {**ask, "options": {"temperature": 0, "num_predict": 4, "stop": ["four"]}})),
        ("/api/generate", ("suffix", {**ask, "suffix": "x"})),
        ("/api/generate", ("thinks", {**ask, "think": True})),
        ("/api/chat", ("plain", talk)),
        ("/api/chat", ("json", {**talk, "format": "json"})),
        ("/api/chat", ("tools", {**talk, "tools": [TOOL]})),
        ("/api/chat", ("image", {**two, "messages": [{"role": "user", "content": "x", "images": [PNG]}]})),
        ("/api/embed", ("embed", {"model": model, "input": ["a", "b"]})),
        ("/api/show", ("show", {"model": model})),
    ]
