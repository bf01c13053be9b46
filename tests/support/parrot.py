"""A model that takes conversations and keeps every promise: it repeats what was said last, word by word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from remuda import (
    Backend,
    BadRequest,
    Converses,
    Done,
    Job,
    LoadWish,
    ModelEntry,
    Text,
    Thinking,
    ToolCall,
    ToolCalls,
)
from remuda.backend import ModelStats
from remuda.converse import ConverseEvent
from remuda.errors import EngineError
from remuda.model import parse_name
from remuda.model.entry import NO_WEIGHTS

__all__ = ["PARROT", "Parrot", "ParrotBackend"]

PARROT = ModelEntry(
    name=parse_name("parrot"),
    weights=NO_WEIGHTS,
    format="parrot",
    capabilities=("completion", "tools", "vision", "thinking"),
)


class Parrot(Converses):
    def __init__(self, wish: LoadWish) -> None:
        self.context = wish.context
        self._open, self._running, self._steps = True, 0, 0

    @property
    def alive(self) -> bool:
        return self._open

    async def close(self) -> None:
        self._open = False

    async def stats(self) -> ModelStats:
        return ModelStats(running=self._running, steps=self._steps)

    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        if job.format is not None:
            raise BadRequest(f'"{job.name}" does not support "format": a parrot says what it heard')
        self._running += 1
        try:
            async for event in self._said(job):
                await asyncio.sleep(0)
                if not self._open:
                    raise EngineError("the parrot has flown away")
                self._steps += 1
                yield event
        finally:
            self._running -= 1

    async def _said(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        yield Thinking("what did it say?")
        if job.tools and job.tool_choice is not None:
            yield ToolCalls([ToolCall(name=job.tool_choice or job.tools[0].function.name, arguments={})])
        for word in job.messages[-1].content.split(" "):
            yield Text(word + " ")
        yield Done(reason="stop")


class ParrotBackend(Backend):
    converses = True
    formats = frozenset({"parrot"})

    async def load(self, model: ModelEntry, wish: LoadWish) -> Parrot:
        return Parrot(wish)
