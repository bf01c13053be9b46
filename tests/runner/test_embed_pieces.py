"""Embeddings that an engine makes in pieces: texts go on meanwhile, and who has left is worked for no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence as ListOf
from contextlib import aclosing

import pytest

from remuda.backend import EmbedJob
from remuda.engine import LoadSpec
from remuda.errors import EngineError
from remuda.runner import RunnerModel
from remuda.runner.embedding import EmbedQueue, EmbedSession
from remuda.runner.frames import News, SeqFailed, SeqVectors
from remuda.testing.scripted import Script, ScriptedEngine

from .conftest import Loader, job, read
from .test_embed import numbers, texts, vector

pytestmark = pytest.mark.anyio

ENDLESS = 10**6


async def embedding(model: RunnerModel, asked: EmbedJob) -> asyncio.Task[object]:
    """A request that the engine is at."""
    task = asyncio.create_task(model.embed(asked))
    async with asyncio.timeout(10):
        while not (await model.stats()).running:
            pass
    return task


async def test_vectors_are_the_same_in_pieces(load: Loader) -> None:
    model = await load(Script(embeds=4, embed_pieces=5))
    inputs = [chr(97 + number) for number in range(20)]
    assert numbers((await model.embed(texts(*inputs))).vectors) == [vector(text) for text in inputs]
    assert (await model.stats()).steps == 3 * 5  # eight inputs in a call


async def test_a_text_goes_on_beside_a_long_embedding(load: Loader) -> None:
    model = await load(Script(embeds=4, embed_pieces=ENDLESS, pieces=["x"], repeat=50, delay=0.001))
    task = await embedding(model, texts("a"))
    async with asyncio.timeout(10):
        assert (await read(model.generate(job())))[0] == "x" * 50
    assert not task.done()
    task.cancel()


async def test_a_long_embedding_goes_on_beside_a_text(load: Loader) -> None:
    model = await load(Script(embeds=4, embed_pieces=50, pieces=["x"], repeat=ENDLESS, delay=0.001))
    async with aclosing(model.generate(job())) as stream, asyncio.timeout(10):
        await anext(stream)
        assert numbers((await model.embed(texts("a"))).vectors) == [vector("a")]
        assert (await model.stats()).running == 1


async def test_cancelling_ends_the_work_after_the_piece_at_hand(load: Loader) -> None:
    model = await load(Script(embeds=4, embed_pieces=ENDLESS, delay=0.005))
    task = await embedding(model, texts("a"))
    task.cancel()
    await asyncio.wait([task])
    before = await model.stats()
    assert (before.running, before.waiting) == (0, 0)
    assert (await read(model.generate(job())))[0] == "one two three"
    assert (await model.stats()).steps == before.steps + 4  # of the text and its end alone


class _InPieces(ScriptedEngine):
    """Three pieces for a call of two inputs at most. Tells when calls begin and end."""

    def __init__(self) -> None:
        super().__init__(Script(embeds=3, embed_most=2), LoadSpec(name="m", weights="", context=40, parallel=1))
        self.calls: list[str] = []
        self.fails = False

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        self.calls.append(f"begins with {len(inputs)}")
        try:
            yield
            yield
            if self.fails:
                raise EngineError("no")
            return self.embed(inputs)
        finally:
            self.calls.append("ends")


@pytest.fixture
def engine() -> _InPieces:
    return _InPieces()


def queue_of(engine: _InPieces, **requests: str) -> EmbedQueue:
    """A letter is an input, and a request's name `r` and its id."""
    queue = EmbedQueue()
    for name, letters in requests.items():
        queue.add(EmbedSession(int(name[1:]), texts(*letters), engine))
    return queue


def told(news: list[News]) -> dict[int, list[list[float]]]:
    return {one.id: numbers(one.vectors) for one in news if isinstance(one, SeqVectors)}


def test_a_call_is_done_before_the_next_begins(engine: _InPieces) -> None:
    queue = queue_of(engine, r1="ab", r2="c")
    assert [told(queue.step(engine)) for _ in range(3)] == [{}, {}, {1: [vector("a", 3), vector("b", 3)]}]
    assert engine.calls == ["begins with 2", "ends"]
    assert [told(queue.step(engine)) for _ in range(3)] == [{}, {}, {2: [vector("c", 3)]}]
    assert not queue


def test_one_whose_inputs_the_engine_is_at_is_running(engine: _InPieces) -> None:
    queue = queue_of(engine, r1="ab", r2="c")
    assert queue.running == 0
    queue.step(engine)
    assert (queue.running, len(queue)) == (1, 2)


def test_a_call_goes_on_while_somebody_wants_it(engine: _InPieces) -> None:
    queue = queue_of(engine, r1="a", r2="b", r3="c")
    queue.step(engine)
    assert queue.cancel(1)
    assert [told(queue.step(engine)) for _ in range(2)] == [{}, {2: [vector("b", 3)]}]
    assert len(queue) == 1


def test_a_call_that_nobody_wants_ends_at_once(engine: _InPieces) -> None:
    queue = queue_of(engine, r1="a", r2="b", r3="c")
    queue.step(engine)
    assert queue.cancel(1)
    assert queue.cancel(2)
    assert engine.calls == ["begins with 2", "ends"]
    assert [told(queue.step(engine)) for _ in range(3)] == [{}, {}, {3: [vector("c", 3)]}]


def test_one_that_was_waiting_ends_no_call_by_leaving(engine: _InPieces) -> None:
    queue = queue_of(engine, r1="ab", r2="c")
    queue.step(engine)
    assert queue.cancel(2)
    assert engine.calls == ["begins with 2"]
    queue.close()
    assert engine.calls == ["begins with 2", "ends"]


def test_a_call_that_fails_midway_fails_who_is_still_there(engine: _InPieces) -> None:
    queue = queue_of(engine, r1="a", r2="b", r3="c")
    queue.step(engine)
    queue.cancel(1)
    queue.step(engine)
    engine.fails = True
    assert queue.step(engine) == [SeqFailed(2, 500, "no")]
    engine.fails = False
    assert [told(queue.step(engine)) for _ in range(3)] == [{}, {}, {3: [vector("c", 3)]}]
