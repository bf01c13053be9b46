"""Models as plugins of `llm` make them: of the old kind and the new, slow, choosy and broken ones."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

import llm
from llm.models import EmbeddingModel


class Registers:
    """A plugin of `llm` with these models. It cannot have an asynchronous one without one that blocks."""

    def __init__(self, *models: Any, embeddings: Iterable[Any] = (), aliases: tuple[str, ...] = ()) -> None:
        self._models, self._embeddings, self._aliases = models, embeddings, aliases

    @llm.hookimpl
    def register_models(self, register: Any) -> None:
        for model in self._models:
            blocking = Never(model.model_id) if isinstance(model, llm.AsyncModel) else model
            register(blocking, model if blocking is not model else None, aliases=self._aliases)

    @llm.hookimpl
    def register_embedding_models(self, register: Any) -> None:
        for model in self._embeddings:
            register(model)


class Old(llm.Model):
    """Blocks, and looks at a conversation as plugins did before there were messages."""

    model_id = "old"
    can_stream = True
    supports_tools = True
    attachment_types = frozenset({"image/png"})

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        for earlier in conversation.responses:
            calls = ",".join(f"{call.name}#{call.tool_call_id}" for call in earlier.tool_calls())
            results = ",".join(f"{result.name}#{result.tool_call_id}" for result in earlier.prompt.tool_results)
            images = len(earlier.attachments)
            yield f"[{earlier.prompt.prompt}|{results}|{images} -> {earlier.text()}|{calls}]"
        results = ",".join(f"{result.name}#{result.tool_call_id}={result.output}" for result in prompt.tool_results)
        yield f"({prompt.system}|{prompt.prompt}|{results}|{len(prompt.attachments)})"


class Never(llm.Model):
    """Stands beside an asynchronous model, and must not be asked."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        raise AssertionError("the asynchronous one should have been asked")


class Counting(llm.Model):
    """Blocks, and writes numbers for ever; tells in which thread, and when it was closed."""

    model_id = "counting"
    can_stream = True

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.threads: set[str] = set()
        self.written = 0

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        try:
            while True:
                self.written += 1
                self.threads.add(threading.current_thread().name)
                yield f"{self.written} "
        finally:
            self.closed.set()


class Seen(llm.AsyncModel):
    """Asynchronous; keeps the prompts that it gets."""

    model_id = "seen"
    can_stream = True
    supports_schema = True
    supports_tools = True

    class Options(llm.Options):
        temperature: float | None = None
        max_tokens: int | None = None
        top_p: float | None = None
        seed: int | None = None
        stop: str | None = None
        reasoning_effort: str | None = None

    def __init__(self) -> None:
        self.prompts: list[Any] = []

    async def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> AsyncGenerator[str, None]:
        self.prompts.append(prompt)
        yield "seen"
        response.set_usage(input=5, output=1)


class Raises(llm.AsyncModel):
    """Raises what it was made with, before its first word or after it."""

    model_id = "raises"
    can_stream = True

    def __init__(self, error: BaseException, *, late: bool = False) -> None:
        self._error, self._late = error, late

    async def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> AsyncGenerator[str, None]:
        if self._late:
            yield "well, "
        raise self._error
        yield ""


class Written(llm.Model):
    """Blocks; writes what it was made with, whatever that is, and raises what is an error."""

    model_id = "written"
    can_stream = True

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._pieces = pieces

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[Any]:
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class Careless(llm.Model):
    """Blocks; calls a tool and tells its usage as it was made to, right or wrong."""

    model_id = "careless"
    can_stream = True

    def __init__(self, *, arguments: Any = None, usage: Any = None) -> None:
        self._arguments, self._usage = arguments, usage

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        yield "here "
        if self._arguments is not None:
            response.add_tool_call(llm.ToolCall(name="look", arguments=self._arguments))
        response.set_usage(input=self._usage, output=self._usage)


class Lengths(EmbeddingModel):
    """Vectors of a text's length and its first letter."""

    model_id = "lengths"
    batch_size = 4

    def embed_batch(self, items: Any, *, key: str | None = None) -> Iterator[list[float]]:
        for item in items:
            yield [float(len(item)), float(ord(item[0])), 1.0]
