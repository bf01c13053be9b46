"""A text with a hole: `suffix`, with the model's own tokens for it and with a template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tiny_models import write_tiny_llama

from remuda.config import Config, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("infill")
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    models = {
        "keyed": ModelConfig(path=str(write_tiny_llama(folder / "keyed.gguf", fim=True))),
        "named": ModelConfig(path=str(write_tiny_llama(folder / "named.gguf", extra_tokens=names))),
        "told": ModelConfig(
            path=str(write_tiny_llama(folder / "told.gguf")),
            template="{{ if .Suffix }}{{ .Prompt }}<hole>{{ .Suffix }}{{ else }}{{ .Prompt }}{{ end }}",
        ),
        "plain": ModelConfig(path=str(write_tiny_llama(folder / "plain.gguf"))),
    }
    with LiveServer(Config(models=models), load_plugins()) as server:
        yield server


def _generate(server: LiveServer, **fields: Any) -> httpx.Response:
    request = {"prompt": "def f():", "suffix": "return x", "stream": False, "options": {"num_predict": 6}, **fields}
    return httpx.post(f"{server.url}/api/generate", json=request, timeout=60)


@pytest.mark.parametrize("model", ["keyed", "named"])
def test_the_models_own_tokens_stand_round_the_hole(server: LiveServer, model: str) -> None:
    debug = _generate(server, model=model, _debug_render_only=True, system="Be brief.").json()["_debug_info"]
    assert debug["rendered_template"] == "<|fim_prefix|>def f():<|fim_suffix|>return x<|fim_middle|>"
    hole = _generate(server, model=model).json()
    assert hole["done_reason"] in {"stop", "length"}
    assert hole["eval_count"] <= 6
    # Each mark is one token, so it is the token and not its letters.
    text = len("def f():") + len("return x")
    assert hole["prompt_eval_count"] <= text + 3 + 1


def test_a_template_that_knows_suffixes_places_them(server: LiveServer) -> None:
    debug = _generate(server, model="told", _debug_render_only=True).json()["_debug_info"]
    assert debug["rendered_template"] == "def f():<hole>return x"
    assert _generate(server, model="told").json()["done"] is True


def test_a_model_that_knows_no_holes_says_so(server: LiveServer) -> None:
    reply = _generate(server, model="plain")
    assert reply.status_code == 400
    assert reply.json() == {"error": "registry.ollama.ai/library/plain:latest does not support insert"}
