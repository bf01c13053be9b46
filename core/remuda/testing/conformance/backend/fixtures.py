"""What the tests of a backend stand on: the model that is loaded for them, and how it is asked."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

import psutil
import pytest
from anyio.lowlevel import checkpoint
from msgspec import Struct

from remuda.backend import (
    Backend,
    Done,
    EmbedJob,
    Embeds,
    GenerateJob,
    Generates,
    GenerationEvent,
    LoadedModel,
    LoadWish,
)
from remuda.errors import BadRequest
from remuda.model import ModelEntry
from remuda.output import Text, TokenLogprob
from remuda.wire.options import Options

from ..skips import Skips
from .conversations import Conversing, generating

__all__ = ["BackendFixtures", "Reply", "at_rest", "memory", "processes", "read"]

_REST_SECONDS = 30.0


class Reply(Struct, frozen=True):
    """What came of a generation, from its first event to its last."""

    texts: list[Text]
    done: Done

    @property
    def text(self) -> str:
        return "".join(text.text for text in self.texts)

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [told for text in self.texts for told in text.logprobs]


class BackendFixtures(Skips):
    """Give two fixtures, `backend` and `entry`, with the scope "class" or a wider one."""

    pytestmark = pytest.mark.anyio

    options: ClassVar[Options] = Options()
    """Load-time options, as `LoadWish.options`."""
    context: ClassVar[int] = 256
    """Tokens that a sequence may hold."""
    parallel: ClassVar[int] = 2
    """Places that are wished for: fewer than are asked for at once, so that some wait."""
    prompt: ClassVar[str] = "Once upon a time there was a little house"
    """Some text after which the model writes at least twenty tokens, greedily; less than a quarter of the context."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        """Remuda is at home on asyncio."""
        return "asyncio"

    @classmethod
    def wish(cls) -> LoadWish:
        return LoadWish(context=cls.context, parallel=cls.parallel, options=cls.options)

    @pytest.fixture(scope="class")
    @classmethod
    async def loaded(cls, backend: Backend, entry: ModelEntry, anyio_backend: str) -> AsyncGenerator[LoadedModel, None]:
        """The model of all tests that do not need one of their own."""
        model = await backend.load(entry, cls.wish())
        yield model
        await model.close()

    @pytest.fixture(scope="class")
    @classmethod
    async def model(cls, loaded: LoadedModel, entry: ModelEntry) -> Generates:
        """The same, if it writes: one that takes conversations is asked as if it continued texts."""
        model = generating(loaded, entry)
        if model is None:
            pytest.skip("this model generates nothing")
        if isinstance(loaded, Embeds) and loaded.embeds:
            try:
                async with aclosing(model.generate(cls.job(most=1))) as events:
                    await anext(events, None)
            except BadRequest:
                pytest.skip("this model gives embeddings and generates nothing")
        return model

    @pytest.fixture
    def prompted(self, model: Generates) -> Generates:
        """The same, if it is told rendered prompts and counts their tokens."""
        if isinstance(model, Conversing):
            pytest.skip("this model takes conversations, not prompts")
        return model

    @classmethod
    def job(cls, prompt: str | None = None, *, most: int = 12, **fields: Any) -> GenerateJob:
        """Greedy, and of `most` tokens, unless `options` says otherwise."""
        options: dict[str, Any] = {"temperature": 0.0, "num_predict": most, **fields.pop("options", {})}
        given: dict[str, Any] = {"limit": cls.context, **fields}
        return GenerateJob(prompt=cls.prompt if prompt is None else prompt, options=Options(**options), **given)

    @classmethod
    def embed_job(cls, inputs: list[str], **fields: Any) -> EmbedJob:
        given: dict[str, Any] = {"limit": cls.context, **fields}
        return EmbedJob(inputs=inputs, **given)

    @classmethod
    def long_prompt(cls) -> str:
        """More than fits, whatever a token is."""
        return f"{cls.prompt} " * cls.context


async def read(model: Generates, job: GenerateJob) -> Reply:
    """The whole answer. Fails where events are not in the order that is promised."""
    texts: list[Text] = []
    done: Done | None = None
    async with aclosing(model.generate(job)) as events:
        async for event in events:
            assert done is None, "`Done` is not the last event"
            done = _take(event, texts)
    assert done is not None, "no `Done` ended the answer"
    return Reply(texts, done)


def _take(event: GenerationEvent, texts: list[Text]) -> Done | None:
    if isinstance(event, Done):
        return event
    assert isinstance(event, Text), f"{event!r} is neither `Text` nor `Done`"
    texts.append(event)
    return None


async def at_rest(model: LoadedModel) -> None:
    """Returns when the model does nothing: at once, or a step later."""
    first = stats = await model.stats()
    async with asyncio.timeout(_REST_SECONDS):
        while stats.running or stats.waiting:
            await checkpoint()
            stats = await model.stats()
    assert stats.steps <= first.steps + 1, "work went on for which nobody was waiting"


def processes() -> set[int]:
    """Ids of this process's children and theirs. Those of others may end at any time."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def memory() -> int:
    """Bytes that this process holds, once what nobody uses any more is gone."""
    gc.collect()
    return psutil.Process().memory_info().rss
