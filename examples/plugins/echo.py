"""A backend without a model: it answers with the conversation as it came, to show what a model gets to read.

    curl http://127.0.0.1:11434/api/generate -d '{"model": "echo", "prompt": "Hello", "stream": false}'

Each message is a line, `user: Hello`. That includes what the configuration put before it and what filters changed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import ClassVar

from remuda import Backend, BadRequest, Converses, Done, Job, LoadWish, ModelEntry, Text, hookimpl
from remuda.errors import EngineError
from remuda.hookspecs import RegisterFactory, RegisterModel


class Echo(Converses):
    def __init__(self, wish: LoadWish) -> None:
        self.context = wish.context
        self._open = True

    @property
    def alive(self) -> bool:
        return self._open

    async def close(self) -> None:
        self._open = False

    async def converse(self, job: Job) -> AsyncGenerator[Text | Done, None]:
        """A piece is a word with the white space after it. Stop strings and `num_predict` are the server's business."""
        if job.format is not None:
            raise BadRequest(f'"{job.name}" does not support "format": it answers with what it was told')
        lines = "\n".join(f"{message.role}: {message.content}" for message in job.messages)
        for word in re.findall(r"\S+\s*", lines):
            if not self._open:
                raise EngineError("the model was unloaded in the middle of an answer")
            yield Text(word)
            await asyncio.sleep(0)  # others have their turn
        yield Done(reason="stop")


class EchoBackend(Backend):
    formats: ClassVar[frozenset[str]] = frozenset({"echo"})
    converses = True

    async def load(self, model: ModelEntry, wish: LoadWish) -> Echo:
        return Echo(wish)


@hookimpl
def remuda_register_backends(register: RegisterFactory) -> None:
    register("echo", EchoBackend)


@hookimpl
def remuda_register_models(register: RegisterModel) -> None:
    register("echo", format="echo", backend="echo")
