"""Servers of OpenAI's API that are not ours, asked through Remuda by an Ollama client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import ollama
import pytest
from jsonschema import validate
from msgspec import Struct
from openai_servers import llama_cpp_server, llama_server, missing
from tiny_embedders import write_tiny_bert

from remuda.config import Config, UpstreamConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

from ..conftest import DEMO, needs_demo

pytestmark = needs_demo

MODEL = "far:135m"
PYTHON, NATIVE = "llama-cpp-python", "llama-server"
HI = [{"role": "user", "content": "Say hi."}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SHORT = {"temperature": 0, "num_predict": 5}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Oslo"]}},
            "required": ["city"],
        },
    },
}


class Fronted(Struct, frozen=True):
    kind: str
    server: LiveServer
    client: ollama.Client

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.server.url}{path}", json=body, timeout=60)

    def refusal(self, **body: Any) -> str:
        """What a 400 says."""
        reply = self.post("/api/chat", model=MODEL, stream=False, **{"messages": HI, **body})
        assert reply.status_code == 400, reply.text
        return reply.json()["error"]


@pytest.fixture(scope="module", params=[PYTHON, NATIVE])
def fronted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    kind = request.param
    if reason := missing(kind):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("real")
    chat = next(entry.weights for entry in load_plugins().models.values() if str(entry.name) == DEMO)
    running = (
        llama_cpp_server(folder, chat, write_tiny_bert(folder / "bert.gguf")) if kind == PYTHON else llama_server(chat)
    )
    with running as url:
        config = Config(upstreams={"far": UpstreamConfig(kind="openai", url=url, capabilities=("completion",))})
        with LiveServer(config, load_plugins()) as server, closing(ollama.Client(server.url)) as client:
            yield Fronted(kind, server, client)


def test_its_models_are_listed_and_shown(fronted: Fronted):
    tags = fronted.post("/api/show", model=MODEL).json()
    assert tags["capabilities"] == ["completion"]
    listed = {model.model: model for model in fronted.client.list().models}
    assert MODEL in listed
    loaded = [model.model for model in fronted.client.ps().models]
    assert loaded == ([MODEL] if fronted.kind == NATIVE else [])
    if fronted.kind == NATIVE:
        assert listed[MODEL].details.quantization_level == "Q4_1"  # type: ignore[union-attr]
        assert tags["model_info"]["unknown.context_length"] == 8192


def test_generate_whole_and_streamed(fronted: Fronted):
    whole = fronted.client.generate(MODEL, "Say hi.", system="Be brief.", options=SHORT)
    pieces = list(fronted.client.generate(MODEL, "Say hi.", system="Be brief.", options=SHORT, stream=True))
    assert whole.response == "".join(piece.response for piece in pieces) != ""
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "length", 5)
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    if fronted.kind == NATIVE:  # the other one does not count in a stream
        assert whole.prompt_eval_count


def test_raw_text_is_continued_and_stops_where_it_is_told(fronted: Fronted):
    told = fronted.client.generate(MODEL, "1, 2, 3, 4,", raw=True, options={**SHORT, "num_predict": 8, "stop": ["7"]})
    assert (told.response.strip(), told.done_reason) == ("5, 6,", "stop")


def test_chat_streams(fronted: Fronted):
    pieces = list(fronted.client.chat(MODEL, HI, options=SHORT, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces)
    assert pieces[-1].done_reason == "length"


def test_a_seed_repeats_an_answer(fronted: Fronted):
    def told(seed: int) -> str:
        options = {"temperature": 1.5, "seed": seed, "num_predict": 6}
        return fronted.client.generate(MODEL, "Tell a story.", options=options).response

    told(1)  # with a cache that is filled the same way, numbers are the same
    assert told(1) == told(1) != told(2)


@pytest.mark.parametrize("format", ["json", CITY], ids=["json", "schema"])
def test_an_answer_keeps_to_its_format(fronted: Fronted, format: Any):
    question = "The city of Rome as JSON with a name. Be very short."
    told = fronted.client.chat(
        MODEL, [{"role": "user", "content": question}], format=format, options={"temperature": 0}
    )
    value = json.loads(told.message.content or "")
    assert isinstance(value, dict)
    if format == CITY:
        validate(value, CITY)


def test_tools(fronted: Fronted):
    if fronted.kind == NATIVE:  # this model's template has no place for them, and the server says so
        assert "upstream 'far' cannot do \"tools\"" in fronted.refusal(tools=[WEATHER])
        return
    options = {"temperature": 0, "num_predict": 40, "tool_choice": "required"}
    told = fronted.client.chat(MODEL, HI, tools=[WEATHER], options=options)
    (call,) = told.message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Oslo"})
    reply = {"role": "tool", "tool_name": "weather", "content": "Sunny."}
    more = fronted.client.chat(MODEL, [*HI, told.message, reply], tools=[WEATHER], options=SHORT)
    assert more.message.content


@pytest.mark.parametrize("raw", [False, True])
def test_log_probabilities(fronted: Fronted, raw: bool):
    options = {"temperature": 0, "num_predict": 2}
    told = fronted.client.generate(MODEL, "Say hi.", raw=raw, logprobs=True, top_logprobs=2, options=options)
    assert told.logprobs
    assert len(told.logprobs) == 2
    for each in told.logprobs:
        likeliest, second = each.top_logprobs or ()
        assert (likeliest.token, likeliest.logprob) == (each.token, pytest.approx(each.logprob))
        assert second.logprob < likeliest.logprob < 0


def test_options_beyond_the_api(fronted: Fronted):
    known = {"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.1, "num_ctx": 512, "num_gpu": 0}
    assert fronted.client.generate(MODEL, "Hi", options={**SHORT, **known}).response
    if fronted.kind == NATIVE:
        assert fronted.client.generate(MODEL, "Hi", options={**SHORT, "typical_p": 0.9}).response
    else:
        assert "upstream 'far' cannot do the option \"typical_p\"" in fronted.refusal(options={"typical_p": 0.9})


def test_errors_are_the_servers_own_sentences(fronted: Fronted):
    long = fronted.refusal(messages=[{"role": "user", "content": "hello " * 2000}])
    assert "context" in long
    assert "2" in long  # the numbers are in it
    assert "image" in fronted.refusal(messages=[{"role": "user", "content": "?", "images": [PNG]}])
    assert "upstream 'far' cannot do \"think\"" in fronted.refusal(think=True)
    assert fronted.post("/api/chat", model="other:135m", messages=HI).status_code == 404


def test_answers_side_by_side_do_not_end_each_other(fronted: Fronted):
    ends: list[str | None] = []

    def ask() -> None:
        told = fronted.client.generate(MODEL, "Count to ten.", options={"temperature": 0, "num_predict": 6})
        ends.append(told.done_reason)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == ["length"] * 3


def test_a_client_that_leaves_leaves_room_for_the_next(fronted: Fronted):
    body = {"model": MODEL, "prompt": "Tell a very long story.", "options": {"num_predict": 900}}
    with httpx.stream("POST", f"{fronted.server.url}/api/generate", json=body, timeout=60) as reply:
        next(reply.iter_lines())
    assert fronted.client.generate(MODEL, "Hi", options=SHORT).done


def test_vectors(fronted: Fronted):
    if fronted.kind == NATIVE:
        reply = fronted.post("/api/embed", model=MODEL, input="a cat")
        assert (reply.status_code, "embeddings" in reply.json()["error"]) == (400, True)
        return
    told = fronted.client.embed("vectors", ["a cat", "the dog"])
    assert told.prompt_eval_count
    assert [len(vector) for vector in told.embeddings] == [32, 32]
    assert [sum(number**2 for number in vector) for vector in told.embeddings] == pytest.approx([1, 1])
