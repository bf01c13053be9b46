"""Models of this backend through a server, as clients meet them; and beside llama.cpp's."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from loaded import loaded_model
from tiny_models import write_tiny_llama, write_tiny_pieces

from remuda.config import Config, ModelConfig, RouteConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260K.gguf"
BOTH = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="needs the extra llamacpp")
METRICS = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}
DIED = "model runner has unexpectedly stopped"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """`old` is served by ctransformers, `new` by llama.cpp, from one file; `gpt2` is a GGML file."""
    lacking = write_tiny_pieces(tmp_path_factory.mktemp("lacking") / "lacking.gguf", lacks_bytes=True)
    weights = {"pieces": models["gguf"], "lacking": lacking} | ({"stories": STORIES} if STORIES.exists() else {})
    options = {"num_thread": 1, "temperature": 0, "num_predict": 12}
    files = {f"{name}:{age}": path for name, path in weights.items() for age in ("old", "new")}
    config = Config(
        models={
            "gpt2": ModelConfig(path=str(models["gpt2"]), format="ggml", options=options),
            **{name: ModelConfig(path=str(path), options=options) for name, path in files.items()},
        },
        routes=(RouteConfig(model="*:old", backend="ctransformers"),),
    )
    with LiveServer(config, load_plugins()) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def ask(http: httpx.Client) -> Ask:
    def ask(model: str, prompt: str, **fields: Any) -> dict[str, Any]:
        body = {"model": model, "prompt": prompt, "raw": True, "stream": False, **fields}
        reply = http.post("/api/generate", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    return ask


@pytest.fixture(params=["gpt2", "pieces:old"])
def model(request: pytest.FixtureRequest) -> str:
    return request.param


# --- beside llama.cpp ---


@BOTH
@pytest.mark.parametrize(
    ("name", "prompt", "most"),
    [
        ("pieces", "the thing in there", 60),
        pytest.param(
            "stories", "Once upon a time", 200, marks=pytest.mark.skipif(not STORIES.exists(), reason="needs the file")
        ),
        pytest.param(
            "stories",
            "The dog and the cat",
            200,
            marks=pytest.mark.skipif(not STORIES.exists(), reason="needs the file"),
        ),
    ],
)
def test_both_local_backends_say_the_same(ask: Ask, name: str, prompt: str, most: int) -> None:
    """Or else the first token that differs is as likely as the other, as far as numbers of 16 bits can tell."""
    old, new = (
        ask(f"{name}:{age}", prompt, options={"num_predict": most}, logprobs=True, top_logprobs=2)
        for age in ("old", "new")
    )
    assert old["prompt_eval_count"] == new["prompt_eval_count"]
    for one, other in zip(old["logprobs"], new["logprobs"], strict=False):
        if one["token"] != other["token"]:
            first, second = one["top_logprobs"]
            assert first["logprob"] - second["logprob"] < 0.02, "another token, and it was not close"
            return
        assert one["logprob"] == pytest.approx(other["logprob"], abs=0.05)
    assert old["response"] == new["response"]


def test_the_routes_decide(server: LiveServer, http: httpx.Client, ask: Ask) -> None:
    ask("pieces:old", "the")
    ask("gpt2", "the")
    text = http.get("/metrics").text
    assert "remuda_" in text
    pid = loaded_model(server, "pieces:old").pid
    assert "libctransformers" in Path(f"/proc/{pid}/maps").read_text()


# --- what every model has ---


def test_a_stream_says_the_same_in_pieces_and_counts(http: httpx.Client, ask: Ask, model: str) -> None:
    whole = ask(model, "the thing")
    with http.stream("POST", "/api/generate", json={"model": model, "prompt": "the thing", "raw": True}) as reply:
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert "".join(line["response"] for line in lines) == whole["response"]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert len(lines) > 6
    for last in (whole, lines[-1]):
        assert last.keys() >= METRICS
        assert all(last[metric] > 0 for metric in METRICS)
        assert (last["eval_count"], last["done_reason"]) == (12, "length")


def test_a_stop_string_ends_the_text(ask: Ask, model: str) -> None:
    text = ask(model, "the thing")["response"]
    stopped = ask(model, "the thing", options={"stop": [text[4:6]]})
    assert (stopped["response"], stopped["done_reason"]) == (text[: text.index(text[4:6])], "stop")


def test_a_seed_reproduces(ask: Ask, model: str) -> None:
    def draw(seed: int) -> str:
        options = {"temperature": 1.5, "top_k": 0, "top_p": 1, "seed": seed, "num_predict": 20}
        return ask(model, "the thing", options=options)["response"]

    assert draw(1) == draw(1) != draw(2)


def test_a_context_goes_on_where_the_answer_ended(ask: Ask, model: str) -> None:
    whole = ask(model, "the thing", raw=False, template="{{ .Prompt }}", options={"num_predict": 12})
    begun = ask(model, "the thing", raw=False, template="{{ .Prompt }}", options={"num_predict": 6})
    assert begun["context"] == whole["context"][: len(begun["context"])]
    more = ask(model, "the", raw=False, template="{{ .Prompt }}", context=begun["context"])
    assert more["context"][: len(begun["context"])] == begun["context"]
    assert more["prompt_eval_count"] > len(begun["context"])


@pytest.mark.parametrize("most", [8, 200])
def test_json_is_json_however_short(ask: Ask, model: str, most: int) -> None:
    json.loads(ask(model, "the", format="json", options={"num_predict": most})["response"])
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}
    said = json.loads(ask(model, "the", format=schema, options={"num_predict": most})["response"])
    assert isinstance(said["age"], int)


def test_chats_and_the_client_s_own_words(server: LiveServer, model: str) -> None:
    with closing(ollama.Client(server.url)) as client:
        reply = client.chat(model, [{"role": "user", "content": "the thing"}], options={"num_predict": 5})
    assert reply.message.content
    assert reply.eval_count == 5


def test_vectors(http: httpx.Client) -> None:
    def embed(model: str) -> httpx.Response:
        return http.post("/api/embed", json={"model": model, "input": ["the thing", "a ring", "the thing"]})

    first, second, third = embed("pieces:old").json()["embeddings"]
    assert first == third != second
    assert len(first) == 64
    assert sum(number**2 for number in first) == pytest.approx(1, abs=1e-4)
    refused = embed("gpt2")
    assert refused.status_code == 400
    assert "gpt2" in refused.json()["error"]


def test_many_at_once(ask: Ask, model: str) -> None:
    """More than there are contexts: they wait for each other."""

    def one(number: int) -> str:
        return ask(model, f"the thing {number % 3}", options={"num_predict": 10})["response"]

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(one, range(12)))
    assert said[:3] * 4 == said


# --- import ---


def test_a_file_is_imported_shown_used_and_removed(http: httpx.Client, models: dict[str, Path], ask: Ask) -> None:
    data = models["gpt2"].read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert http.post(f"/api/blobs/{digest}", content=data).status_code == 201
    body = {"model": "mine", "files": {"gpt2.bin": digest}, "parameters": {"num_thread": 1, "temperature": 0}}
    created = [json.loads(line) for line in http.post("/api/create", json=body).iter_lines()]
    assert created[-1] == {"status": "success"}
    shown = http.post("/api/show", json={"model": "mine"}).json()
    assert (shown["details"]["format"], shown["details"]["family"]) == ("ggml", "gpt2")
    assert shown["model_info"]["gpt2.context_length"] == 256
    assert shown["capabilities"] == ["completion"]
    assert "mine:latest" in {each["name"] for each in http.get("/api/tags").json()["models"]}
    told = ask("mine", "the thing", options={"num_predict": 12})
    assert told["response"] == ask("gpt2", "the thing")["response"]
    loaded = {each["name"]: each for each in http.get("/api/ps").json()["models"]}["mine:latest"]
    assert loaded["details"]["family"] == "gpt2"
    assert loaded["size"] > 0
    assert http.request("DELETE", "/api/delete", json={"model": "mine"}).status_code == 200


# --- faults ---


def test_a_native_crash_fails_one_request_and_no_other(http: httpx.Client, ask: Ask) -> None:
    """The library throws what nobody catches, over a byte that this vocabulary has no token for."""
    before = ask("lacking:old", "the thing")["response"]
    with http.stream(
        "POST", "/api/generate", json={"model": "gpt2", "prompt": "a", "options": {"num_predict": 200}}
    ) as other:
        lines = other.iter_lines()
        next(lines)
        crashed = http.post("/api/generate", json={"model": "lacking:old", "prompt": "é", "raw": True, "stream": False})
        assert crashed.status_code == 500
        assert DIED in crashed.json()["error"]
        assert json.loads(list(lines)[-1])["done"]
    assert ask("lacking:old", "the thing")["response"] == before


def test_a_process_that_is_killed_ends_its_stream_with_an_error(
    server: LiveServer, http: httpx.Client, ask: Ask
) -> None:
    body = {"model": "gpt2", "prompt": "the", "raw": True, "options": {"num_predict": 10_000}}
    with http.stream("POST", "/api/generate", json=body) as reply:
        lines = reply.iter_lines()
        for _ in range(3):
            assert not json.loads(next(lines))["done"]
        pid = loaded_model(server, "gpt2:latest").pid
        assert pid is not None
        os.kill(pid, signal.SIGSEGV)
        last = json.loads(list(lines)[-1])
    assert DIED in last["error"]
    assert ask("gpt2", "the thing")["done"]


def test_files_that_are_no_models_are_refused_when_they_are_imported(
    http: httpx.Client, models: dict[str, Path]
) -> None:
    data = models["gpt2"].read_bytes()
    for bad, words in (
        (data[: len(data) // 2], "but the file at byte"),
        (b"lmgg" + bytes(100), "does not tell what kind"),
    ):
        digest = f"sha256:{hashlib.sha256(bad).hexdigest()}"
        http.post(f"/api/blobs/{digest}", content=bad)
        reply = http.post("/api/create", json={"model": "bad", "files": {"bad.bin": digest}, "stream": False})
        assert reply.status_code == 400
        assert words in reply.json()["error"]
        assert "bad.bin" in reply.json()["error"]
    assert "bad:latest" not in {each["name"] for each in http.get("/api/tags").json()["models"]}


@BOTH
def test_what_ctransformers_cannot_read_is_told_with_the_way_out(models: dict[str, Path], tmp_path: Path) -> None:
    weights = write_tiny_llama(tmp_path / "bpe.gguf")
    cut = tmp_path / "cut.bin"
    cut.write_bytes(models["gpt2"].read_bytes()[:-100])
    config = Config(
        models={
            "bpe": ModelConfig(path=str(weights), backend="ctransformers"),
            "cut": ModelConfig(path=str(cut), format="ggml"),
            "fine": ModelConfig(path=str(models["gpt2"]), format="ggml", options={"num_predict": 3}),
        }
    )
    with LiveServer(config, load_plugins()) as server, closing(ollama.Client(server.url)) as client:
        for name, words in (
            ("bpe", r"vocabulary is of the kind 'gpt2'.*backend \"llamacpp\""),
            ("cut", "but the file at byte"),
        ):
            with pytest.raises(ollama.ResponseError, match=words) as caught:
                client.generate(name, "the")
            assert caught.value.status_code == 500
            assert str(tmp_path) not in caught.value.error
        assert client.generate("fine", "the").done
