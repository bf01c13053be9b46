"""Backends that break one promise each, and by which tests of the suite that must be found.

Not collected by itself: `test_broken.py` runs it, and counts what fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence as ListOf
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from msgspec import structs
from toy_engine import ToyBackend

from remuda.backend import (
    Backend,
    Done,
    Embedded,
    EmbedJob,
    Embeds,
    GenerateJob,
    Generates,
    LoadedModel,
    LoadWish,
    ModelStats,
    Tokenizes,
)
from remuda.errors import LoadFailed
from remuda.model import ModelEntry
from remuda.output import Text
from remuda.testing import BackendConformance
from remuda.testing.conformance.backend.fixtures import BackendFixtures

from .breaking import Caught, suites


class Honest(Generates, Embeds, Tokenizes):
    """A model that hands everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.context, self.parallel = inner.context, inner.parallel

    @classmethod
    async def load(cls, backend: ToyBackend, entry: ModelEntry, wish: LoadWish) -> Honest:
        return cls(await backend.load(entry, wish))

    @property
    def alive(self) -> bool:
        return self.inner.alive

    async def close(self) -> None:
        await self.inner.close()

    async def ended(self) -> str:
        return await self.inner.ended()

    async def stats(self) -> ModelStats:
        return await self.inner.stats()

    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        async with aclosing(self.inner.generate(job)) as events:
            async for event in events:
                yield event

    async def embed(self, job: EmbedJob) -> Embedded:
        return await self.inner.embed(job)

    async def tokenize(self, text: str) -> list[int]:
        return await self.inner.tokenize(text)

    async def detokenize(self, tokens: ListOf[int]) -> str:
        return await self.inner.detokenize(tokens)


CAUGHT: Caught[Honest] = Caught()
caught_by = CAUGHT.by


@caught_by("test_loading_again_holds_no_more_memory")
class KeepsItsWeights(Honest):
    kept: ClassVar[list[bytes]] = []

    @classmethod
    async def load(cls, backend: ToyBackend, entry: ModelEntry, wish: LoadWish) -> Honest:
        cls.kept.append(bytes([1]) * 24_000_000)
        return await super().load(backend, entry, wish)


@caught_by("test_texts_come_and_one_done_last")
class IsDoneTwice(Honest):
    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        async for event in super().generate(job):
            yield event
            if isinstance(event, Done):
                yield event


@caught_by("test_texts_come_and_one_done_last")
class TakesNoTime(Honest):
    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        async for event in super().generate(job):
            yield structs.replace(event, output_ns=0) if isinstance(event, Done) else event


@caught_by("test_a_stop_string_ends_an_answer_and_is_not_in_it")
class KnowsNoStops(Honest):
    def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        return super().generate(structs.replace(job, options=structs.replace(job.options, stop=())))


@caught_by("test_characters_leave_whole[0]")
class SplitsCharacters(Honest):
    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        async for event in super().generate(job):
            if isinstance(event, Text):
                for byte in event.text.encode():
                    yield Text(bytes([byte]).decode(errors="replace"))
            else:
                yield event


@caught_by("test_an_answer_can_be_continued_from_its_context")
class ForgetsTheLastToken(Honest):
    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        async for event in super().generate(job):
            yield structs.replace(event, context=(event.context or [])[:-1]) if isinstance(event, Done) else event


@caught_by("test_an_object_parses_however_it_ends[5]")
class DropsTheEnd(Honest):
    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        last: Text | None = None
        async for event in super().generate(job):
            if isinstance(event, Done):
                yield event
            elif last is not None:
                yield last
            last = event if isinstance(event, Text) else None


@caught_by("test_closing_while_it_writes_stops_the_work", "test_cancelling_the_task_stops_the_work")
class WritesOn(Honest):
    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        queue: asyncio.Queue[Text | Done] = asyncio.Queue()

        async def follow() -> None:
            async for event in self.inner.generate(job):
                queue.put_nowait(event)

        self.following = asyncio.create_task(follow())
        event: Text | Done | None = None
        while not isinstance(event, Done):
            event = await queue.get()
            yield event


@caught_by("test_many_at_once_are_all_served", "test_one_that_leaves_takes_nobody_along")
class ServesOneOnly(Honest):
    busy = False

    async def generate(self, job: GenerateJob) -> AsyncGenerator[Text | Done, None]:
        assert not self.busy
        self.busy = True
        try:
            async for event in super().generate(job):
                yield event
        finally:
            self.busy = False


@caught_by("test_a_vector_for_each_input")
class SortsItsInputs(Honest):
    async def embed(self, job: EmbedJob) -> Embedded:
        return await super().embed(structs.replace(job, inputs=sorted(job.inputs)))


@caught_by("test_close_frees_everything")
class NeverCloses(Honest):
    async def close(self) -> None:
        pass


@caught_by("test_a_process_that_dies_is_told")
class BelievesItLives(Honest):
    alive = True


@caught_by("test_damaged_weights_are_refused[garbage]")
class LeavesAProcess(Honest):
    @classmethod
    async def load(cls, backend: ToyBackend, entry: ModelEntry, wish: LoadWish) -> Honest:
        try:
            return await super().load(backend, entry, wish)
        except LoadFailed:
            cls.left = await asyncio.create_subprocess_exec("sleep", "30")
            raise


@caught_by("test_damaged_weights_are_refused[missing]")
class TellsThePath(Honest):
    @classmethod
    async def load(cls, backend: ToyBackend, entry: ModelEntry, wish: LoadWish) -> Honest:
        try:
            return await super().load(backend, entry, wish)
        except LoadFailed:
            raise LoadFailed(f"{entry.weights} is broken") from None


@caught_by("test_a_load_that_is_cancelled_leaves_nothing")
class LoadsOn(Honest):
    @classmethod
    async def load(cls, backend: ToyBackend, entry: ModelEntry, wish: LoadWish) -> Honest:
        cls.loading = asyncio.create_task(super().load(backend, entry, wish))
        return await asyncio.shield(cls.loading)


class _Backend(Backend):
    def __init__(self, inner: ToyBackend, model: type[Honest]) -> None:
        super().__init__()
        self._inner, self._model = inner, model

    async def load(self, model: ModelEntry, wish: LoadWish) -> LoadedModel:
        return await self._model.load(self._inner, model, wish)


class _Broken(BackendFixtures):
    broken: ClassVar[type[Honest]]

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, toy_backend: ToyBackend) -> Backend:
        return _Backend(toy_backend, cls.broken)

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls, toy_entry: ModelEntry) -> ModelEntry:
        return toy_entry


globals().update(suites(CAUGHT, BackendConformance, _Broken, "broken"))
