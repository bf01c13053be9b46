"""`/api/embed` and `/api/embeddings` over real sockets, with embedders of both kinds in real runners."""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from blockbuster import blockbuster_ctx
from loaded import loaded_model
from tiny_embedders import write_tiny_bert, write_wide_llama
from tiny_models import write_tiny_llama

from remuda.config import Config, LimitsConfig, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin, write_script

MINILM = Path(__file__).parents[3] / "shared" / "models" / "all-MiniLM-L6-v2-f16.gguf"
WORDS = ("a", "the", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree")
TEXTS = [" ".join(WORDS[(number * 7 + place) % 10] for place in range(1 + number % 9)) for number in range(200)]


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("embedders")
    slow = write_script(folder / "slow.json", Script(embeds=4, delay=0.02))
    models = {
        "bert": ModelConfig(path=str(write_tiny_bert(folder / "bert.gguf"))),
        "last": ModelConfig(path=str(write_wide_llama(folder / "last.gguf", pooling=3, eos=True))),
        "writer": ModelConfig(path=str(write_tiny_llama(folder / "writer.gguf"))),
        "slow": ModelConfig(path=str(slow), format="scripted"),
    }
    if MINILM.exists():
        models["minilm"] = ModelConfig(path=str(MINILM))
    plugins = load_plugins(extra=[("scripted", ScriptedPlugin())])
    config = Config(models=models, limits=LimitsConfig(parallel=8))
    with blockbuster_ctx(["remuda", "remuda_plugins"]), LiveServer(config, plugins) as server:
        yield server


@pytest.fixture
def http(embedders: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=embedders.url, timeout=120) as client:
        yield client


def ask(http: httpx.Client, model: str, value: Any, **fields: Any) -> dict[str, Any]:
    reply = http.post("/api/embed", json={"model": model, "input": value, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(http: httpx.Client, path: str = "/api/embed", **body: Any) -> tuple[int, str]:
    reply = http.post(path, json=body)
    return reply.status_code, reply.json()["error"]


def near(vector: list[float]) -> Any:
    return pytest.approx(vector, abs=1e-3)


@pytest.mark.parametrize("model", ["bert", "last"])
def test_two_hundred_texts_take_few_batches_and_are_what_each_is_alone(
    embedders: LiveServer, http: httpx.Client, model: str
) -> None:
    ask(http, model, None)
    before = embedders.call(loaded_model(embedders, f"{model}:latest").stats).steps
    reply = ask(http, model, TEXTS)
    # At least 6 texts share a batch of 256 tokens, whatever they are.
    assert embedders.call(loaded_model(embedders, f"{model}:latest").stats).steps - before <= 200 / 6
    assert len(reply["embeddings"]) == 200
    for number in range(0, 200, 23):
        alone = ask(http, model, TEXTS[number])
        assert reply["embeddings"][number] == near(alone["embeddings"][0])
        assert math.hypot(*alone["embeddings"][0]) == pytest.approx(1, abs=1e-6)
    assert reply["prompt_eval_count"] > 200
    assert reply["total_duration"] >= reply["load_duration"] > 0


def test_company_changes_nobodys_vectors(http: httpx.Client) -> None:
    alone = [ask(http, "bert", text)["embeddings"][0] for text in TEXTS[:24]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: ask(http, "bert", text)["embeddings"][0], TEXTS[:24]))
    for one, other in zip(alone, together, strict=True):
        assert other == near(one)


def test_the_official_client(embedders: LiveServer) -> None:
    with closing(ollama.Client(host=embedders.url)) as client:
        several = client.embed(model="bert", input=["a cat", "a dog"])
        assert len(several.embeddings) == 2
        assert client.embed(model="bert", input="a cat").embeddings[0] == near(list(several.embeddings[0]))
        assert client.embeddings(model="bert", prompt="a cat").embedding == near(list(several.embeddings[0]))
        assert len(client.embed(model="bert", input="a cat", dimensions=5).embeddings[0]) == 5


def test_all_of_unicode(http: httpx.Client) -> None:
    texts = ["日本", "né", "😀👩‍👩‍👧", "\u0000", "\uffff", "שלום", "a\u0301", "  ", "\n"]
    for model in ("bert", "last"):
        together = ask(http, model, texts)["embeddings"]
        assert together[0] == near(ask(http, model, texts[0])["embeddings"][0])
        assert len(together) == len(texts)
    assert refused(http, model="bert", input="x", keep_alive=[1])[0] == 400
    reply = http.post("/api/embed", content=b'{"model": "bert", "input": "\\ud800"}')
    assert reply.status_code == 400


def test_a_very_long_text(http: httpx.Client) -> None:
    for model, most in (("bert", 64), ("last", 256)):
        assert ask(http, model, "the cat " * 12_500)["prompt_eval_count"] == most
        assert ask(http, model, "the cat " * 12_500, options={"num_ctx": 16})["prompt_eval_count"] == 16
        error = (400, "the input length exceeds the context length")
        assert refused(http, model=model, input=["a", "the cat " * 12_500], truncate=False) == error


def test_what_is_refused(http: httpx.Client) -> None:
    assert refused(http, model="bert", input=[1]) == (400, "invalid input type")
    assert refused(http, model="", input="a") == (400, "model is required")
    assert refused(http, model="none", input="a") == (404, 'model "none" not found, try pulling it first')
    assert refused(http, model="writer", input="a") == (400, '"writer" does not support embeddings')
    assert refused(http, "/api/generate", model="bert", prompt="a") == (400, '"bert" does not support generate')
    assert refused(http, "/api/embeddings", model="writer", prompt="a") == (400, '"writer" does not support embeddings')


def test_loading_and_leaving(http: httpx.Client) -> None:
    def present() -> list[str]:
        return [model["name"] for model in http.get("/api/ps").json()["models"]]

    assert ask(http, "last", "", keep_alive=60)["embeddings"] == []
    assert "last:latest" in present()
    assert len(ask(http, "last", "a", keep_alive=0)["embeddings"]) == 1
    deadline = time.monotonic() + 20
    while "last:latest" in present():
        assert time.monotonic() < deadline


def test_a_crash_amid_the_work(embedders: LiveServer, http: httpx.Client) -> None:
    ask(http, "slow", None)
    pid = loaded_model(embedders, "slow:latest").pid
    assert pid is not None
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(http.post, "/api/embed", json={"model": "slow", "input": ["a"] * 10_000})
        _until_running(http)
        os.kill(pid, signal.SIGKILL)
        reply = asking.result()
    assert reply.status_code == 500
    assert "SIGKILL" in reply.json()["error"]
    assert len(ask(http, "slow", "a")["embeddings"]) == 1


def test_a_client_that_leaves_stops_the_work(embedders: LiveServer, http: httpx.Client) -> None:
    ask(http, "slow", None)
    body = b'{"model": "slow", "input": [%s]}' % b",".join([b'"a"'] * 10_000)
    with socket.create_connection(embedders.address) as raw:
        raw.sendall(b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        _until_running(http)
    deadline = time.monotonic() + 20
    while _counts(http) != (0, 0):
        assert time.monotonic() < deadline
    assert embedders.call(loaded_model(embedders, "slow:latest").stats).steps < 1250


def _counts(http: httpx.Client) -> tuple[int, int]:
    [model] = [model for model in http.get("/api/ps").json()["models"] if model["name"] == "slow:latest"]
    return model["running"], model["waiting"]


def _until_running(http: httpx.Client) -> None:
    deadline = time.monotonic() + 20
    while _counts(http)[0] == 0:
        assert time.monotonic() < deadline


@pytest.mark.skipif(not MINILM.exists(), reason="needs the shared models")
def test_a_real_model_knows_what_is_like_what(http: httpx.Client) -> None:
    texts = ["a cat is sleeping", "a kitten takes a nap", "the stock market fell"]
    cat, kitten, market = ask(http, "minilm", texts)["embeddings"]
    assert len(cat) == 384

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert likeness(cat, kitten) > 0.5
    assert likeness(cat, market) < 0.2
