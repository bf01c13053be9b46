"""Requests for embeddings share micro-batches, and each gets its own vectors or its own error."""

from __future__ import annotations

import asyncio
import os
import signal
from array import array

import pytest
from hypothesis import given, settings, strategies as st

from remuda.backend import EmbedJob
from remuda.engine import LoadSpec
from remuda.errors import BadRequest, EngineError, RunnerDied
from remuda.runner.embedding import EmbedQueue, EmbedSession
from remuda.runner.frames import SeqFailed, SeqVectors
from remuda.testing.scripted import Script, ScriptedEngine

from .conftest import Loader, job, read

pytestmark = pytest.mark.anyio

SMALL = Script(embeds=4)


def texts(*inputs: str, limit: int = 4096, truncate: bool = True) -> EmbedJob:
    return EmbedJob(inputs=list(inputs), limit=limit, truncate=truncate)


def vector(text: str, width: int = 4) -> list[float]:
    """What the scripted engine makes of a text."""
    return [float(number) for number in [1, *map(ord, text), 2, *[0] * width][:width]]


def numbers(vectors: list[bytes]) -> list[list[float]]:
    return [list(array("f", data)) for data in vectors]


async def test_vectors_come_in_the_order_of_the_inputs(load: Loader) -> None:
    model = await load(SMALL)
    inputs = [chr(97 + number % 26) * (number % 30) for number in range(200)]
    made = await model.embed(texts(*inputs))
    assert numbers(made.vectors) == [vector(text) for text in inputs]
    assert made.tokens == sum(len(text) + 2 for text in inputs)
    assert (await model.stats()).running == 0


async def test_many_inputs_need_few_batches(load: Loader) -> None:
    model = await load(SMALL)
    await model.embed(texts(*["abc"] * 200))
    assert (await model.stats()).steps == 200 / 8
    await model.embed(texts(*["x" * 30] * 20))
    assert (await model.stats()).steps == 25 + 20 / 2


async def test_clients_with_one_input_each_share_a_batch(load: Loader) -> None:
    model = await load(Script(embeds=4, delay=0.2))
    made = await asyncio.gather(*(model.embed(texts(letter)) for letter in "abcdefgh"))
    assert [numbers(each.vectors) for each in made] == [[vector(letter)] for letter in "abcdefgh"]
    assert (await model.stats()).steps <= 2  # the first may be under way before the others have arrived


async def test_a_short_request_does_not_wait_for_a_long_one(load: Loader) -> None:
    model = await load(Script(embeds=4, delay=0.005))
    long = asyncio.create_task(model.embed(texts(*["long"] * 800)))
    while not (await model.stats()).running:
        pass
    await model.embed(texts("short"))
    assert not long.done()
    assert len((await long).vectors) == 800


async def test_embeddings_and_texts_take_turns(load: Loader) -> None:
    model = await load(Script(embeds=4, pieces=["x"], repeat=100, delay=0.001))
    (text, _), made = await asyncio.gather(read(model.generate(job())), model.embed(texts(*["a"] * 400)))
    assert text == "x" * 100
    assert len(made.vectors) == 400
    assert (await model.stats()).steps >= 150


async def test_requests_are_counted_while_they_run_and_wait(load: Loader) -> None:
    model = await load(Script(embeds=4, delay=0.05, embed_most=1))
    tasks = [asyncio.create_task(model.embed(texts(*"abcdefgh"))) for _ in range(3)]
    seen = await model.stats()
    while not seen.running or seen.running + seen.waiting < 3:  # they come in one by one
        seen = await model.stats()
    assert seen.running + seen.waiting == 3
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_cancelling_drops_what_is_not_computed(load: Loader) -> None:
    model = await load(Script(embeds=4, delay=0.01))
    task = asyncio.create_task(model.embed(texts(*["a"] * 10_000)))
    while not (await model.stats()).running:
        pass
    task.cancel()
    await asyncio.wait([task])
    stats = await model.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.steps < 1000
    assert len((await model.embed(texts("b"))).vectors) == 1


async def test_the_texts_of_a_client_that_left_are_not_tokenized(load: Loader) -> None:
    model = await load(Script(embeds=4, tokenize_delay=0.05))
    task = asyncio.create_task(model.embed(texts(*["x" * 1000] * 1000)))
    while not (await model.stats()).waiting:
        pass
    task.cancel()
    async with asyncio.timeout(10):
        assert len((await model.embed(texts("a"))).vectors) == 1
    assert (await model.stats()).steps == 1


async def test_inputs_that_are_too_long_are_cut_or_refused(load: Loader) -> None:
    model = await load(Script(embeds=4), context=32)
    made = await model.embed(texts("x" * 100_000, "y"))
    assert numbers(made.vectors) == [vector("xxx"), vector("y")]
    assert made.tokens == 32 + 3
    assert (await model.embed(texts("x" * 9, limit=4))).tokens == 4
    assert (await model.embed(texts("x" * 30, truncate=False))).tokens == 32
    with pytest.raises(BadRequest, match=r"\Athe input length exceeds the context length\Z"):
        await model.embed(texts("fits", "x" * 31, truncate=False))
    with pytest.raises(BadRequest, match=r"\Ainput after truncation exceeds maximum context length\Z"):
        await model.embed(texts("x", limit=2))


async def test_no_inputs_are_no_work(load: Loader) -> None:
    model = await load(SMALL)
    assert (await model.embed(texts())).vectors == []
    assert (await model.stats()).steps == 0


async def test_a_model_that_gives_none_says_so(load: Loader) -> None:
    model = await load(Script())
    assert not model.embeds
    with pytest.raises(BadRequest, match=r"\Athis model does not support embeddings\Z"):
        await model.embed(texts("a"))


async def test_a_batch_that_fails_fails_its_requests_only(load: Loader) -> None:
    model = await load(Script(embeds=4, fault="fail", fault_at=3))
    with pytest.raises(EngineError, match="the script says so"):
        await model.embed(texts(*"abcdefghijkl"))
    assert numbers((await model.embed(texts("a"))).vectors) == [vector("a")]


async def test_a_crash_amid_the_work_fails_the_request(load: Loader) -> None:
    model = await load(Script(embeds=4, fault="segv", fault_at=100))
    with pytest.raises(RunnerDied, match="breaks it"):
        await model.embed(texts(*["a"] * 200))
    assert not model.alive
    with pytest.raises(RunnerDied):
        await model.embed(texts("a"))


async def test_a_kill_from_outside_fails_all_that_wait(load: Loader) -> None:
    model = await load(Script(embeds=4, delay=0.05))
    tasks = [asyncio.create_task(model.embed(texts(*["a"] * 1000))) for _ in range(3)]
    while not (await model.stats()).running:
        pass
    assert model.pid
    os.kill(model.pid, signal.SIGKILL)
    for task in tasks:
        with pytest.raises(RunnerDied, match="SIGKILL"):
            await asyncio.wait_for(task, 5)


class _Recording(ScriptedEngine):
    """Keeps the batches it was given."""

    def __init__(self, most: int, room: int) -> None:
        script = Script(embeds=3, embed_most=most, embed_room=room)
        super().__init__(script, LoadSpec(name="m", weights="", context=40, parallel=1))
        self.batches: list[int] = []

    def embed(self, inputs):  # type: ignore[no-untyped-def]
        self.batches.append(len(inputs))
        return super().embed(inputs)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(1, 6),
    st.integers(1, 80),
)
def test_packing_loses_nothing_and_goes_on(requests: list[list[int]], most: int, room: int) -> None:
    engine, queue = _Recording(most, room), EmbedQueue()
    for id, lengths in enumerate(requests):
        queue.add(EmbedSession(id, texts(*["z" * length for length in lengths]), engine))
    got: dict[int, list[bytes]] = {id: [] for id in range(len(requests))}
    while queue:
        before = sum(engine.batches)
        for news in queue.step(engine):
            assert isinstance(news, SeqVectors)
            got[news.id] += news.vectors
        assert sum(engine.batches) > before
    for id, lengths in enumerate(requests):
        assert numbers(got[id]) == [vector("z" * min(length, 38), 3) for length in lengths]


def test_the_room_of_a_batch_is_filled_by_those_who_fit() -> None:
    engine, queue = _Recording(8, 40), EmbedQueue()
    queue.add(EmbedSession(1, texts("x" * 28, "x" * 28), engine))
    queue.add(EmbedSession(2, texts("y" * 30), engine))
    queue.add(EmbedSession(3, texts("z" * 4, "z" * 9), engine))
    assert [(news.id, len(news.vectors)) for news in queue.step(engine) if isinstance(news, SeqVectors)] == [
        (1, 1),
        (3, 1),
    ]
    assert queue.running == 2
    assert queue.cancel(1)
    assert not queue.cancel(1)


def test_an_error_is_told_to_every_request_of_the_batch() -> None:
    engine = _Recording(8, 40)
    engine._script = Script(embeds=3, fault="fail", fault_at=0)
    queue = EmbedQueue()
    for id in (1, 2):
        queue.add(EmbedSession(id, texts("a"), engine))
    assert queue.step(engine) == [SeqFailed(id, 500, "the script says so") for id in (1, 2)]
    assert not queue
