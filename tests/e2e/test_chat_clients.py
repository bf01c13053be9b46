"""The official client talks to the demo model through everything that `/api/chat` and `/api/generate` offer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Literal

import ollama
import pytest
from pydantic import BaseModel, Field

from remuda.testing import LiveServer

from .conftest import DEMO
from .test_generate_table import PNG

OPTIONS = {"temperature": 0, "num_predict": 12}
SKY = {"role": "user", "content": "Why is the sky blue?"}


class Cat(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=30)
    colour: Literal["black", "white", "red"]


class Cats(BaseModel):
    cats: list[Cat] = Field(min_length=1, max_length=2)
    mood: str | None = Field(default=None, max_length=20)


@pytest.fixture
def official(server: LiveServer) -> Iterator[ollama.Client]:
    with closing(ollama.Client(host=server.url)) as client:
        yield client


def test_chat_and_its_stream_say_the_same(official: ollama.Client) -> None:
    whole = official.chat(DEMO, [SKY], options=OPTIONS)
    parts = list(official.chat(DEMO, [SKY], options=OPTIONS, stream=True))
    assert whole.message.role == "assistant"
    assert "Rayleigh" in (whole.message.content or "")
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert whole.done_reason == parts[-1].done_reason == "length"
    assert whole.eval_count == parts[-1].eval_count == 12
    assert (whole.total_duration or 0) > (whole.eval_duration or 0) > 0


def test_chat_and_generate_read_the_same_prompt(official: ollama.Client) -> None:
    said = official.chat(DEMO, [SKY], options=OPTIONS)
    told = official.generate(DEMO, SKY["content"], options=OPTIONS)
    assert (said.message.content, said.prompt_eval_count) == (told.response, told.prompt_eval_count)
    ordered = official.chat(DEMO, [{"role": "system", "content": "Be brief."}, SKY], options=OPTIONS)
    assert (
        ordered.message.content
        == official.generate(DEMO, SKY["content"], "", system="Be brief.", options=OPTIONS).response
    )


def test_a_conversation_goes_on(official: ollama.Client) -> None:
    messages = [SKY, official.chat(DEMO, [SKY], options=OPTIONS).message, {"role": "user", "content": "Say more."}]
    more = official.chat(DEMO, messages, options=OPTIONS)
    assert more.message.content
    assert (more.prompt_eval_count or 0) > 60


@pytest.mark.anyio
async def test_the_async_client(server: LiveServer) -> None:
    official = ollama.AsyncClient(host=server.url)
    try:
        whole = await official.chat(DEMO, [SKY], options=OPTIONS)
        parts = await official.chat(DEMO, [SKY], options=OPTIONS, stream=True)
        assert "".join([part.message.content or "" async for part in parts]) == whole.message.content
        formed = await official.chat(
            DEMO, [SKY], format=Cat.model_json_schema(), options={**OPTIONS, "num_predict": 80}
        )
        Cat.model_validate_json(formed.message.content or "")
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
            await official.chat("nope", [SKY])
    finally:
        await official.close()


@pytest.mark.parametrize("model", [Cat, Cats])
def test_a_pydantic_models_schema_is_a_format(official: ollama.Client, model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    options = {"temperature": 0, "num_predict": 80}
    model.model_validate_json(official.generate(DEMO, "Describe cats.", format=schema, options=options).response)
    asked = [{"role": "user", "content": "Describe cats."}]
    parts = official.chat(DEMO, asked, format=schema, options=options, stream=True)
    model.model_validate_json("".join(part.message.content or "" for part in parts))


def test_log_probabilities(official: ollama.Client) -> None:
    whole = official.chat(DEMO, [SKY], options=OPTIONS, logprobs=True, top_logprobs=3)
    told = official.generate(DEMO, SKY["content"], options=OPTIONS, logprobs=True, top_logprobs=3)
    assert whole.logprobs is not None
    assert len(whole.logprobs) == whole.eval_count
    assert "".join(each.token for each in whole.logprobs) == whole.message.content
    assert all(len(each.top_logprobs or ()) == 3 for each in whole.logprobs)
    assert [each.token for each in told.logprobs or ()] == [each.token for each in whole.logprobs]
    parts = list(official.chat(DEMO, [SKY], options=OPTIONS, logprobs=True, stream=True))
    assert [each.token for part in parts for each in part.logprobs or ()] == [each.token for each in whole.logprobs]


def test_load_and_unload(official: ollama.Client) -> None:
    assert official.chat(DEMO, keep_alive="1m").done_reason == "load"
    assert official.chat(DEMO, keep_alive=0).done_reason == "unload"
    assert DEMO not in {model.model for model in official.ps().models}


def test_what_is_refused_is_raised_with_its_words(official: ollama.Client) -> None:
    picture = {"role": "user", "content": "What is it?", "images": [PNG]}
    for status, words, ask in (
        (400, "does not support thinking", lambda: official.chat(DEMO, [SKY], think=True)),
        (400, "invalid think value", lambda: official.chat(DEMO, [SKY], think="hard")),
        (400, "does not support vision", lambda: official.chat(DEMO, [picture])),
        (400, "does not support insert", lambda: official.generate(DEMO, "a", "b")),
        (400, "top_logprobs must be between 0 and 20", lambda: official.chat(DEMO, [SKY], top_logprobs=21)),
        (404, "model 'nope' not found", lambda: official.chat("nope", [SKY])),
        (404, "model 'nope' not found", lambda: list(official.chat("nope", [SKY], stream=True))),
    ):
        with pytest.raises(ollama.ResponseError) as caught:
            ask()
        assert caught.value.status_code == status
        assert words in caught.value.error
