"""A backend whose models take conversations themselves, and say what a test says."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from remuda import Backend, Converses, Done, Embedded, EmbedJob, Embeds, Job, LoadWish, ModelEntry, Text, hookimpl
from remuda.errors import EngineError
from remuda.hookspecs import RegisterFactory, RegisterModel

__all__ = ["Talker", "Talking", "texts"]


class Talking:
    """A plugin with a backend `talk`, and with the models `models`: their capabilities by their names.

    Each answer is `events`, of which an exception is raised, and then, unless it is there, a `Done`.
    """

    def __init__(self, *events: Any, models: dict[str, Sequence[str]] | None = None, done: bool = True) -> None:
        self.events = list(events)
        if done and not any(isinstance(event, (Done, Exception)) for event in events):
            self.events.append(Done(reason="stop"))
        self.models = models or {"m": ("completion", "tools", "vision", "thinking", "insert")}
        self.jobs: list[Job] = []
        """What was asked, as the models saw it."""
        self.loaded: list[str] = []
        self.closed = asyncio.Event()
        """Set when an answer has ended or was closed."""
        self.endless = False
        """Begin anew, for ever, instead of coming to an end."""

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        plugin = self

        class TalkBackend(Backend):
            converses = True
            formats = frozenset({"talk"})

            async def load(self, model: ModelEntry, wish: LoadWish) -> Talker:
                plugin.loaded.append(str(model.name))
                return Talker(plugin, wish)

        register("talk", TalkBackend)

    @hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        for name, capabilities in self.models.items():
            register(name, format="talk", capabilities=capabilities, context_length=2048)


class Talker(Converses, Embeds):
    def __init__(self, plugin: Talking, wish: LoadWish) -> None:
        self._plugin = plugin
        self._open = True
        self.context = wish.context

    @property
    def alive(self) -> bool:
        return self._open

    async def close(self) -> None:
        self._open = False

    async def converse(self, job: Job) -> AsyncGenerator[Any, None]:
        if not self._open:
            raise EngineError("it is closed")
        self._plugin.jobs.append(job)
        try:
            while True:
                for event in self._plugin.events:
                    if isinstance(event, Exception):
                        raise event
                    if not (self._plugin.endless and isinstance(event, Done)):
                        yield event
                    await asyncio.sleep(0)
                if not self._plugin.endless:
                    return
        finally:
            self._plugin.closed.set()

    async def embed(self, job: EmbedJob) -> Embedded:
        vectors = [array("f", [3.0, 4.0]).tobytes() for _ in job.inputs]
        return Embedded(vectors, sum(map(len, job.inputs)))


def texts(*pieces: str) -> list[Text]:
    return [Text(piece) for piece in pieces]
