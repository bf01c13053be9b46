"""Clients that nobody here wrote, against the real model."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import ollama
import pytest
import requests

from remuda.testing import LiveServer

from .conftest import DEMO, Client

QUESTION = "Why is the sky blue?"
OPTIONS = {"temperature": 0, "num_predict": 24}


@pytest.fixture
def official(server: LiveServer) -> Iterator[ollama.Client]:
    """The client from PyPI."""
    with closing(ollama.Client(host=server.url)) as client:
        yield client


def test_the_ollama_client(official: ollama.Client) -> None:
    whole = official.generate(DEMO, QUESTION, options=OPTIONS)
    parts = list(official.generate(DEMO, QUESTION, options=OPTIONS, stream=True))
    assert "".join(part.response for part in parts) == whole.response
    assert "light" in whole.response
    assert whole.done_reason == parts[-1].done_reason == "length"
    assert whole.eval_count == parts[-1].eval_count == 24
    assert whole.context
    assert whole.context == parts[-1].context
    again = official.generate(DEMO, "Say more.", context=whole.context, options=OPTIONS)
    assert (again.prompt_eval_count or 0) > len(whole.context)


def test_the_ollama_client_lists_loads_and_unloads(official: ollama.Client) -> None:
    listed = {model.model: model for model in official.list().models}
    assert listed[DEMO].details is not None
    assert listed[DEMO].details.quantization_level == "Q4_1"
    assert official.generate(DEMO, keep_alive=60).done_reason == "load"
    running = {model.model: model for model in official.ps().models}
    assert running[DEMO].context_length == 4096
    assert official.generate(DEMO, keep_alive=0).done_reason == "unload"
    assert DEMO not in {model.model for model in official.ps().models}


def test_the_ollama_client_raises_what_the_server_says(official: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
        official.generate("nope", QUESTION)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="top_k") as caught:
        official.generate(DEMO, QUESTION, options={"top_k": 2**63})
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="strin") as caught:
        official.generate(DEMO, QUESTION, format={"type": "strin"})
    assert caught.value.status_code == 400


@pytest.mark.anyio
async def test_the_async_ollama_client(server: LiveServer) -> None:
    official = ollama.AsyncClient(host=server.url)
    try:
        whole = await official.generate(DEMO, QUESTION, options=OPTIONS)
        stream = await official.generate(DEMO, QUESTION, options=OPTIONS, stream=True)
        assert "".join([part.response async for part in stream]) == whole.response
    finally:
        await official.close()


def test_the_requests_program_of_the_guides(server: LiveServer) -> None:
    """POST, `iter_lines`, tokens a second from `eval_count / eval_duration * 1e9`."""
    payload = {"model": DEMO, "prompt": QUESTION, "options": {"max_tokens": 24, "temperature": 0}}
    text, last = "", dict[str, Any]()
    with requests.post(f"{server.url}/api/generate", json=payload, stream=True, timeout=120) as reply:
        reply.raise_for_status()
        assert reply.headers["Content-Type"] == "application/x-ndjson"
        for line in reply.iter_lines():
            last = json.loads(line)
            text += last["response"]
    assert last["done"]
    assert last["eval_count"] == 24
    assert 1 < last["eval_count"] / last["eval_duration"] * 1e9 < 100_000
    assert "light" in text


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(server: LiveServer) -> None:
    body = json.dumps({"model": DEMO, "prompt": QUESTION, "options": OPTIONS})
    command = ["curl", "--silent", "--show-error", "--no-buffer", f"{server.url}/api/generate", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 10
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


def test_every_metric_is_there_and_adds_up(client: Client) -> None:
    reply = client.ask(QUESTION)
    parts = ("load_duration", "prompt_eval_duration", "eval_duration")
    assert all(reply[part] > 0 for part in parts)
    assert sum(reply[part] for part in parts) <= reply["total_duration"]
    assert reply["prompt_eval_count"] + reply["eval_count"] == len(reply["context"])
