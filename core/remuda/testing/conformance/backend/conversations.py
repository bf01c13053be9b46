"""How models are asked that take conversations themselves, and how tests of prompts ask them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from msgspec import structs

from remuda.backend import Done, GenerateJob, Generates, LoadedModel, ModelStats
from remuda.converse import ConverseEvent, Converses
from remuda.job import Job, Message, ToolCalls
from remuda.model import ModelEntry
from remuda.output import Text, Thinking
from remuda.wire import Options

__all__ = ["Conversing", "answered", "conversation", "generating"]

_DEFAULTS: Final = structs.asdict(Options())


class Conversing(Generates):
    """Such a model, asked as one that continues prompts: each prompt is what a user says."""

    def __init__(self, inner: Converses, entry: ModelEntry) -> None:
        self.inner, self.entry = inner, entry
        self.context, self.parallel = inner.context, inner.parallel

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
        asked = conversation(self.entry, Message("user", job.prompt), options=job.options)
        async with aclosing(self.inner.converse(asked)) as events:
            async for event in events:
                assert not isinstance(event, ToolCalls), "a tool is called that nobody offered"
                if not isinstance(event, Thinking):
                    yield event


def generating(model: LoadedModel, entry: ModelEntry) -> Generates | None:
    """The model as one that can be asked to continue texts; None if it writes nothing."""
    if isinstance(model, Converses):
        return Conversing(model, entry)
    return model if isinstance(model, Generates) else None


def conversation(entry: ModelEntry, *messages: Message, options: Options, **fields: Any) -> Job:
    """A job of `/api/chat` as the flow hands it on."""
    given = {name: value for name, value in structs.asdict(options).items() if value != _DEFAULTS[name]}
    wishes: dict[str, Any] = {"options": options, "given": given, "messages": list(messages), **fields}
    return Job(request_id="conformance", endpoint="/api/chat", name=str(entry.name), entry=entry, **wishes)


async def answered(model: Converses, job: Job) -> list[ConverseEvent]:
    """All events. Fails where they are not in the order that is promised."""
    events: list[ConverseEvent] = []
    async with aclosing(model.converse(job)) as coming:
        async for event in coming:
            assert not (events and isinstance(events[-1], Done)), "`Done` is not the last event"
            assert isinstance(event, (Text, Thinking, ToolCalls, Done)), f"{event!r} is no event of an answer"
            events.append(event)
    assert events, "there was no answer"
    assert isinstance(events[-1], Done), "no `Done` ended the answer"
    return events
