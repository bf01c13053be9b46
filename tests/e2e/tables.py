"""For the tables of the protocol: a shelf of small models that say what they are told to, and a client that asks
nothing twice and reads every byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from gguf import GGUFWriter
from msgspec import structs
from tiny_models import write_tiny_llama

from remuda.config import Config, LimitsConfig, MessageConfig, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin, write_script

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
METRICS = [
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
]
ADDED = ["truncated", "dropped_tokens", "cached_tokens"]
GENERATE_KEYS = [
    *("model", "created_at", "response", "thinking", "done", "done_reason", "context"),
    *(*METRICS, "tool_calls", "_debug_info", "logprobs", *ADDED),
]
CHAT_KEYS = [
    *("model", "created_at", "message", "done", "done_reason", "_debug_info", "logprobs", *METRICS, *ADDED),
]
MESSAGE_KEYS = ["role", "content", "thinking", "tool_calls"]

PLAIN = "{{ range .Messages }}{{ .Role }}:{{ .Content }}|{{ end }}A:"
THINKER = (
    "{{ range .Messages }}{{ .Role }}:{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}|"
    "{{ end }}A:"
)
CALLER = (
    "{{ range .Tools }}{{ .Function.Name }}|{{ end }}{{ range .Messages }}{{ .Role }}:{{ .Content }}"
    '{{ if .ToolCalls }}<tool_call>{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", '
    '"arguments": {{ .Function.Arguments }}}{{ end }}</tool_call>{{ end }}|{{ end }}A:'
)
FILLER = "{{ if .Suffix }}<P>{{ .Prompt }}<S>{{ .Suffix }}<M>{{ else }}{{ .Prompt }}{{ end }}"
CALLS = [
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>',
    '\n<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
]
JINJA = (
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}\n{% endfor %}"
    "<|assistant|>{% if enable_thinking %}<think>{% endif %}{# </think> tool_response #}"
)


@contextmanager
def shelf(folder: Path) -> Iterator[LiveServer]:
    """A server with scripted models (a token is a character), tiny real ones of random weights, and one for embeddings.

    `bare` has no template; `plain`, `thinker`, `caller` and `filler` are named for what their templates can do;
    `opened` brings a system message, a conversation and options; `fails` fails at its second token; `tiny` and `hole`
    are real, `hole` with the tokens for a text with a hole; `embedder` embeds.
    """
    words = ["one", " two", " three"]
    scripts = {
        "bare": (None, words),
        "plain": (PLAIN, words),
        "thinker": (THINKER, ["<think>", "hm", " hm", "</think>", "\n\nyes", " sir"]),
        "caller": (CALLER, ["Let me", " see.", *CALLS[0], *CALLS[1]]),
        "filler": (FILLER, words),
        "opened": (PLAIN, words),
    }
    models = {
        name: ModelConfig(
            path=str(write_script(folder / f"{name}.json", Script(pieces=pieces))), format="scripted", template=template
        )
        for name, (template, pieces) in scripts.items()
    }
    models["opened"] = structs.replace(
        models["opened"],
        system="Be brief.",
        messages=(MessageConfig(role="user", content="hey"), MessageConfig(role="assistant", content="ho")),
        options={"num_predict": 2, "stop": ["three"]},
    )
    fault = Script(pieces=["a"], repeat=9, fault="fail", fault_at=1)
    models["fails"] = ModelConfig(path=str(write_script(folder / "fails.json", fault)), format="scripted")
    models["tiny"] = ModelConfig(path=str(write_tiny_llama(folder / "tiny.gguf", chat_template=JINJA, thinking=True)))
    models["hole"] = ModelConfig(path=str(write_tiny_llama(folder / "hole.gguf", fim=True)))
    models["embedder"] = ModelConfig(path=str(_write_embedder(folder / "embedder.gguf")))
    plugins = load_plugins(extra=[("scripted", ScriptedPlugin())])
    with LiveServer(Config(models=models, limits=LimitsConfig(parallel=8)), plugins) as server:
        yield server


class Table:
    """Rows of one endpoint against one server. Every reply's headers, bytes and order of keys are looked at."""

    def __init__(self, server: LiveServer, endpoint: str) -> None:
        self.http = httpx.Client(base_url=server.url, timeout=600)
        self.endpoint = endpoint
        self._keys = CHAT_KEYS if endpoint == "/api/chat" else GENERATE_KEYS

    def close(self) -> None:
        self.http.close()

    def post(self, body: dict[str, Any] | bytes) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.endpoint, content=content)

    def whole(self, **fields: Any) -> dict[str, Any]:
        """One object."""
        reply = self.post({"stream": False, **fields})
        assert (reply.status_code, reply.headers["content-type"]) == (200, JSON), reply.text
        assert not reply.content.endswith(b"\n")
        return self._checked(json.loads(reply.content))

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """A stream, from its first line to the one that is done."""
        with self.http.stream("POST", self.endpoint, json=fields) as reply:
            assert (reply.status_code, reply.headers["content-type"]) == (200, NDJSON), reply.read()
            assert reply.headers["transfer-encoding"] == "chunked"
            body = reply.read()
        assert body.endswith(b"\n")
        lines = [self._checked(json.loads(line)) for line in body.split(b"\n")[:-1]]
        assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
        return lines

    def refused(self, status: int = 400, /, **fields: Any) -> str:
        """The error; a request that asks for a stream gets the same reply."""
        texts = set[str]()
        for stream in (False, True):
            reply = self.post({"stream": stream, **fields})
            assert (reply.status_code, reply.headers["content-type"]) == (status, JSON), reply.text
            body = json.loads(reply.content)
            assert list(body) == ["error"]
            texts.add(body["error"])
        [text] = texts
        return text

    def prompt(self, **fields: Any) -> str:
        """What the model would read."""
        return self.whole(_debug_render_only=True, **fields)["_debug_info"]["rendered_template"]

    def loaded(self) -> dict[str, dict[str, Any]]:
        """What `/api/ps` tells, by name."""
        return {model["name"]: model for model in self.http.get("/api/ps").json()["models"]}

    def _checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        assert list(reply) == [key for key in self._keys if key in reply]
        if "message" in reply:
            assert list(reply["message"]) == [key for key in MESSAGE_KEYS if key in reply["message"]]
        return reply


def settled(reply: dict[str, Any]) -> dict[str, Any]:
    """`reply` without what differs from call to call."""
    return {key: value for key, value in reply.items() if key not in {"created_at", "cached_tokens", *METRICS}}


def _write_embedder(path: Path) -> Path:
    """Its header says enough: it is refused before anything is loaded."""
    file = GGUFWriter(path, "bert")
    file.add_uint32("bert.context_length", 512)
    file.add_uint32("bert.pooling_type", 1)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.close()
    return path
