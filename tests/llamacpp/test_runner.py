"""Formats and log probabilities through a real runner process."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
from llguidance import LLMatcher

from remuda.backend import Done, GenerateJob, LoadWish, Text
from remuda.errors import BadRequest
from remuda.model import ModelEntry, parse_name
from remuda.output import Constraint
from remuda.wire import Options
from remuda_llamacpp.backend import LlamaCppBackend

pytestmark = pytest.mark.anyio

CHAT = "<|im_start|>user\nDescribe a river as JSON.<|im_end|>\n<|im_start|>assistant\n"
OBJECT = Constraint(grammar=LLMatcher.grammar_from_json_schema('{"type": "object"}'))


@pytest.fixture
async def model(weights, no_blocking):
    entry = ModelEntry(name=parse_name("demo"), weights=weights, format="gguf")
    wish = LoadWish(context=512, parallel=2, options=Options(num_thread=1))
    loaded = await LlamaCppBackend().load(entry, wish)
    yield loaded
    await loaded.close()


def job(prompt: str = CHAT, *, most: int = 24, **fields: object) -> GenerateJob:
    options = Options(temperature=0.0, num_predict=most)
    return GenerateJob(prompt=prompt, limit=512, options=options, **fields)  # type: ignore[arg-type]


async def read(model, job: GenerateJob) -> tuple[list[Text], Done]:
    texts, done = [], None
    async with aclosing(model.generate(job)) as events:
        async for event in events:
            if isinstance(event, Text):
                texts.append(event)
            else:
                done = event
    assert done is not None
    return texts, done


async def test_a_format_holds_beside_free_text_and_when_it_is_cut(model):
    (bound, bound_done), (free, _) = await asyncio.gather(
        read(model, job(constraint=OBJECT, logprobs=1)), read(model, job())
    )
    assert isinstance(json.loads("".join(text.text for text in bound)), dict)
    assert bound_done.reason == "length"
    assert bound_done.output_tokens == 24 == sum(len(text.logprobs) for text in bound)
    alone, _ = await read(model, job())
    assert "".join(text.text for text in free) == "".join(text.text for text in alone)


async def test_a_format_that_is_none_is_the_clients_fault_and_ends_nobody_elses_text(model):
    with pytest.raises(BadRequest, match="unknown name"):
        await read(model, job(constraint=Constraint(grammar="start: nothing")))
    texts, done = await read(model, job(constraint=Constraint(grammar='start: "Paris"')))
    assert ("".join(text.text for text in texts), done.reason) == ("Paris", "stop")
