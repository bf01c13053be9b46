"""`/api/embed` and `/api/embeddings` without a server: inputs, limits, vectors, errors, receipts."""

from __future__ import annotations

import asyncio
import json
import math
from array import array
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from remuda import Receipt, hookimpl
from remuda.config import Config, LimitsConfig
from remuda.errors import BadRequest, ModelNotFound, RunnerDied
from remuda.pipeline import Pipeline
from remuda.pipeline.embed import embed, embeddings
from remuda.pipeline.fields import Known
from remuda.plugins import Plugins
from remuda.testing.scripted import Script
from remuda.wire import EmbeddingsRequest, EmbedRequest, EmbedResponse, decode, encode

from .asking import opened

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

Make = Callable[..., Config]
SMALL = Script(embeds=3)


async def ask(pipeline: Pipeline, **fields: Any) -> EmbedResponse:
    request = decode(msgspec.json.encode({"model": "m", **fields}), EmbedRequest)
    return await embed(request, pipeline.flow, Known(pipeline.catalog, frozenset()), "r")


async def ask_old(pipeline: Pipeline, **fields: Any) -> list[float]:
    request = decode(msgspec.json.encode({"model": "m", **fields}), EmbeddingsRequest)
    return (await embeddings(request, pipeline.flow, Known(pipeline.catalog, frozenset()), "r")).embedding


def unit(*numbers: float) -> Any:
    length = math.hypot(*numbers)
    return pytest.approx([number / length for number in numbers], abs=1e-7)


async def test_one_text_or_several(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        one, several = await ask(pipeline, input="ab"), await ask(pipeline, input=["b", "", "é😀"])
    assert one.model == "m"
    assert one.embeddings == [unit(1, 97, 98)]
    assert several.embeddings == [unit(1, 98, 2), unit(1, 2, 0), unit(1, ord("é"), ord("😀"))]
    assert (one.prompt_eval_count, several.prompt_eval_count) == (4, 3 + 2 + 4)
    assert one.total_duration >= one.load_duration > 0


async def test_numbers_are_float32s(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        reply = await ask(pipeline, input="ab")
    written = json.loads(encode(reply))["embeddings"][0]
    assert written == reply.embeddings[0]
    assert [float(f"{number:.9g}") for number in array("f", written)] == written
    assert all(len(repr(number).lstrip("0.")) <= 9 for number in written)


@pytest.mark.parametrize("fields", [{}, {"input": None}, {"input": ""}, {"input": []}])
async def test_no_input_loads_the_model(scripted: Make, plugins: Plugins, fields: dict[str, Any]) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        reply = await ask(pipeline, **fields)
        assert b'"embeddings":[]' in encode(reply)
        assert [model.name for model in (await pipeline.ps()).models] == ["m:latest"]
        await ask(pipeline, keep_alive=0, **fields)
        assert (await pipeline.ps()).models == []


@pytest.mark.parametrize("value", [1, True, {}, {"text": "a"}, ["a", 1], ["a", None], [["a"]], 0])
async def test_other_inputs_are_refused(scripted: Make, plugins: Plugins, value: Any) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        with pytest.raises(BadRequest, match=r"\Ainvalid input type\Z"):
            await ask(pipeline, input=value)
        assert (await pipeline.ps()).models == []


async def test_there_is_an_end_to_how_many(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        with pytest.raises(BadRequest, match="16385 texts; send at most 16384"):
            await ask(pipeline, input=["a"] * 16_385)


@pytest.mark.parametrize(
    ("wanted", "vector"),
    [(1, [1]), (2, [1, 97]), (3, [1, 97, 98]), (9, [1, 97, 98]), (0, [1, 97, 98]), (-2, [1, 97, 98])],
)
async def test_dimensions(scripted: Make, plugins: Plugins, wanted: int, vector: list[float]) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        assert (await ask(pipeline, input="ab", dimensions=wanted)).embeddings == [unit(*vector)]


async def test_long_inputs(scripted: Make, plugins: Plugins) -> None:
    config = scripted(m=SMALL, limits=LimitsConfig(context=32))
    async with opened(config, plugins) as pipeline:
        assert (await ask(pipeline, input="x" * 100_000)).prompt_eval_count == 32
        assert (await ask(pipeline, input="x" * 100, options={"num_ctx": 16})).prompt_eval_count == 16
        assert (await ask(pipeline, input="x" * 100, options={"num_ctx": 64})).prompt_eval_count == 64
        assert (await ask(pipeline, input="x" * 100, truncate=None)).prompt_eval_count == 32
        with pytest.raises(BadRequest, match="the input length exceeds the context length"):
            await ask(pipeline, input="x" * 31, truncate=False)
        with pytest.raises(BadRequest, match="the input length exceeds the context length"):
            await ask_old(pipeline, prompt="x" * 31)
        assert (await ask(pipeline, input="x" * 30, truncate=False)).prompt_eval_count == 32


async def test_the_older_route(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        assert await ask_old(pipeline, prompt="ab") == unit(1, 97, 98)
        assert await ask_old(pipeline) == []
        assert await ask_old(pipeline, prompt="") == []
        assert len((await pipeline.ps()).models) == 1
        assert await ask_old(pipeline, keep_alive=0) == []
        assert (await pipeline.ps()).models == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "model is required"),
        ({"model": None}, "model is required"),
        ({"model": "a b"}, "invalid model name"),
        ({"keep_alive": "soon"}, "time: invalid duration"),
        ({"options": {"num_ctx": "x"}}, 'option "num_ctx" must be of type integer'),
        ({"options": {"num_ctx": -5}}, "out of range"),
    ],
)
async def test_bad_fields_are_400_before_any_work(
    scripted: Make, plugins: Plugins, fields: dict[str, Any], message: str
) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        for ask_one in (ask(pipeline, input="a", **fields), ask_old(pipeline, prompt="a", **fields)):
            with pytest.raises(BadRequest, match=message):
                await ask_one
        assert (await pipeline.ps()).models == []


async def test_an_unknown_model_has_the_text_of_these_routes(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        for ask_one in (ask(pipeline, model="Nobody", input="a"), ask_old(pipeline, model="Nobody")):
            with pytest.raises(ModelNotFound) as caught:
                await ask_one
            assert caught.value.status == 404
            assert caught.value.message == 'model "Nobody" not found, try pulling it first'


async def test_a_model_that_cannot_embed(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        for ask_one in (ask(pipeline, input="a"), ask_old(pipeline, prompt="a")):
            with pytest.raises(BadRequest, match=r'\A"m" does not support embeddings\Z'):
                await ask_one


async def test_vectors_that_are_no_numbers(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script(embeds=3, fault="nan", fault_at=0)), plugins) as pipeline:
        with pytest.raises(BadRequest, match=r"\Aembedding contains NaN or Inf values\Z"):
            await ask(pipeline, input="a")
        assert (await ask(pipeline, input="ab")).embeddings == [unit(1, 97, 98)]


async def test_a_crash_and_the_next_request(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script(embeds=3, fault="segv", fault_at=20)), plugins) as pipeline:
        with pytest.raises(RunnerDied):
            await ask(pipeline, input=["a"] * 100)
        assert len((await ask(pipeline, input=["a"] * 10)).embeddings) == 10


async def test_many_clients_at_once_get_their_own(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=SMALL), plugins) as pipeline:
        replies = await asyncio.gather(*(ask(pipeline, input=["a" * n, "b" * n]) for n in range(1, 40)))
    for n, reply in enumerate(replies, 1):
        assert reply.prompt_eval_count == 2 * (n + 2)
        assert reply.embeddings == [unit(1, code, 2 if n == 1 else code) for code in (97, 98)]


async def test_leaving_stops_the_work(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script(embeds=3, delay=0.01)), plugins) as pipeline:
        await ask(pipeline)
        task = asyncio.create_task(ask(pipeline, input=["a"] * 10_000))
        while not (await pipeline.ps()).models[0].running:
            pass
        task.cancel()
        await asyncio.wait([task])
        [model] = (await pipeline.ps()).models
        assert (model.running, model.waiting) == (0, 0)


class _Observer:
    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


async def test_receipts(scripted: Make, plugins: Plugins) -> None:
    observer = _Observer()
    plugins.add(observer, "observer")
    async with opened(scripted(m=SMALL, plain=Script()), plugins) as pipeline:
        await ask(pipeline, input=["ab", "c"], options={"nonsense": 1})
        await ask_old(pipeline)
        with pytest.raises(BadRequest):
            await ask(pipeline, model="plain", input="a")
    good, load, bad = observer.receipts
    assert (good.endpoint, good.model, good.backend, good.status, good.reason) == (
        "/api/embed",
        "m",
        "scripted",
        200,
        "",
    )
    assert (good.prompt_tokens, good.output_tokens, good.ignored_options) == (7, 0, ("nonsense",))
    assert good.total_ns > good.prompt_ns > 0
    assert (load.endpoint, load.status, load.reason, load.prompt_tokens) == ("/api/embeddings", 200, "load", 0)
    assert (bad.status, bad.reason) == (400, '"plain" does not support embeddings')
