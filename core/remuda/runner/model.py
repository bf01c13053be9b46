"""The server's side of a runner: a `LoadedModel` whose work is done in another process."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence as ListOf
from contextlib import contextmanager

from ..backend import Embedded, EmbedJob, Embeds, GenerateJob, Generates, GenerationEvent, ModelStats, Tokenizes
from ..errors import BadRequest, EngineError, LoadFailed, RunnerDied, error_for_status
from ..output import Text
from .frames import (
    Answer,
    Ask,
    Batch,
    Cancel,
    Embed,
    FrameError,
    Load,
    Loaded,
    LoadRefused,
    News,
    SeqDone,
    SeqFailed,
    SeqText,
    SeqVectors,
    Submit,
    pack,
    unpack_up,
)
from .process import Child

__all__ = ["RunnerModel"]

_log = logging.getLogger("remuda.runner")
_MANY = 256
"""News that a reader may leave unread before they are merged."""
_STATS_PATIENCE = 2.0
"""Seconds; a runner answers between two steps."""


class _Mailbox:
    """News of one sequence, for one reader. A slow reader costs the text it has not read, not an object a token."""

    def __init__(self) -> None:
        self.ended = False
        """No further news are to come."""
        self._news: deque[News | Exception] = deque()
        self._some = asyncio.Event()

    def put(self, news: News | Exception) -> None:
        last = self._news[-1] if len(self._news) >= _MANY else None
        if isinstance(last, SeqText) and isinstance(news, SeqText):
            last.logprobs.extend(news.logprobs)
            self._news[-1] = SeqText(last.id, last.text + news.text, last.logprobs)
        else:
            self._news.append(news)
        self._some.set()

    async def get(self) -> News | Exception:
        while not self._news:
            self._some.clear()
            await self._some.wait()
        news = self._news.popleft()
        self.ended = not isinstance(news, (SeqText, SeqVectors))
        return news


class RunnerModel(Generates, Embeds, Tokenizes):
    """Made by `start`. One instance is one process."""

    def __init__(self) -> None:
        self._child = Child(self._frame, self._gone)
        self._boxes: dict[int, _Mailbox] = {}
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._ids = itertools.count(1)
        self._ready: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self._farewell: asyncio.Task[None] | None = None
        self._closing = False
        self._stats = ModelStats()

    @classmethod
    async def start(cls, load: Load, environment: dict[str, str] | None = None) -> RunnerModel:
        """Start the process and load. Raises `LoadFailed`; whatever happens, no process is left behind by a failure."""
        model = cls()
        try:
            await model._child.start("remuda.runner.host", environment)
            model._child.send(pack(load))
            loaded = await model._ready
        except RunnerDied as error:
            raise LoadFailed(f"the model could not be loaded: {error}") from None
        except BaseException:
            await asyncio.shield(model.close())
            raise
        model.context, model._stats, model.embeds = loaded.context, loaded.stats, loaded.embeds
        return model

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.connected and not self._closing

    async def close(self) -> None:
        self._closing = True
        await self._child.close()
        if self._farewell is not None:
            await self._farewell

    async def generate(self, job: GenerateJob) -> AsyncGenerator[GenerationEvent, None]:
        with self._asking(Submit(next(self._ids), job)) as box:
            while not box.ended:
                yield _translate(await box.get())

    async def embed(self, job: EmbedJob) -> Embedded:
        if not self.embeds:
            raise BadRequest("this model does not support embeddings")
        vectors, tokens = list[bytes](), 0
        if not job.inputs:
            return Embedded(vectors, tokens)
        with self._asking(Embed(next(self._ids), job)) as box:
            while not box.ended:
                news = await box.get()
                if not isinstance(news, SeqVectors):
                    raise _failure(news)
                vectors += news.vectors
                tokens += news.tokens
                box.ended = len(vectors) >= len(job.inputs)
        return Embedded(vectors, tokens)

    @contextmanager
    def _asking(self, request: Submit | Embed) -> Generator[_Mailbox, None, None]:
        """The news of a request, which is cancelled if the block ends before they do."""
        if not self.alive:
            raise RunnerDied(self._child.last_words)
        box = self._boxes[request.id] = _Mailbox()
        try:
            self._child.send(pack(request))
            yield box
        finally:
            del self._boxes[request.id]
            if not box.ended:
                self._child.send(pack(Cancel(request.id)))

    async def tokenize(self, text: str) -> list[int]:
        return (await self._ask(Ask(next(self._ids), tokenize=text))).tokens

    async def detokenize(self, tokens: ListOf[int]) -> str:
        answer = await self._ask(Ask(next(self._ids), detokenize=list(tokens)))
        return answer.data.decode("utf-8", "replace")

    async def stats(self) -> ModelStats:
        """The runner's own count; the last known one if the runner is in a long step."""
        try:
            async with asyncio.timeout(_STATS_PATIENCE):
                self._stats = (await self._ask(Ask(next(self._ids)))).stats
        except (TimeoutError, EngineError):
            _log.debug("runner %s did not answer in time", self.pid)
        return self._stats

    async def _ask(self, ask: Ask) -> Answer:
        if not self.alive:
            raise RunnerDied(self._child.last_words)
        future = self._asked[ask.id] = asyncio.get_running_loop().create_future()
        try:
            self._child.send(pack(ask))
            answer = await future
        finally:
            del self._asked[ask.id]
        if answer.error:
            raise EngineError(answer.error)
        return answer

    def _frame(self, body: bytes) -> None:
        message = unpack_up(body)
        if isinstance(message, Batch):
            for news in message.news:
                if box := self._boxes.get(news.id):
                    box.put(news)
        elif isinstance(message, Answer):
            future = self._asked.get(message.id)
            if future is not None and not future.done():
                future.set_result(message)
        elif self._ready.done():
            raise FrameError("a second answer to the load")
        elif isinstance(message, LoadRefused):
            self._ready.set_exception(LoadFailed(message.message))
        else:
            self._ready.set_result(message)

    def _gone(self) -> None:
        self._farewell = asyncio.get_running_loop().create_task(self._say_farewell())

    async def _say_farewell(self) -> None:
        """Fail all that waits, once the process has ended and said its last words."""
        await self._child.reap(grace=0.3)
        error = RunnerDied(self._child.last_words)
        if not self._closing:
            _log.error("runner %s is gone: %s", self.pid, self._child.last_words or "no word")
        for box in self._boxes.values():
            box.put(error)
        for future in (self._ready, *self._asked.values()):
            if not future.done():
                future.set_exception(error)


def _translate(news: News | Exception) -> GenerationEvent:
    if isinstance(news, SeqText):
        return Text(news.text, news.logprobs)
    if isinstance(news, SeqDone):
        return news.done
    raise _failure(news)


def _failure(news: News | Exception) -> Exception:
    if isinstance(news, SeqFailed):
        return error_for_status(news.status, news.message)
    return news if isinstance(news, Exception) else FrameError(f"{type(news).__name__} was not asked for")
