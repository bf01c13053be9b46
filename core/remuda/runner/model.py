"""The server's side of a runner: a `LoadedModel` whose work is done in another process."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Sequence as ListOf
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from msgspec import structs

from ..backend import Embedded, EmbedJob, Embeds, GenerateJob, Generates, GenerationEvent, ModelStats, Tokenizes
from ..errors import (
    BadRequest,
    EngineError,
    EngineMissing,
    LoadFailed,
    OutOfMemory,
    PromptTooLong,
    RunnerDied,
    error_for_status,
)
from ..output import Text
from .frames import (
    Answer,
    Ask,
    Batch,
    Beat,
    Cancel,
    Embed,
    FrameError,
    Load,
    Loaded,
    LoadProgress,
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
from .mailbox import Mailbox
from .process import Child
from .watchdog import Watchdog

__all__ = ["RunnerModel"]

_log = logging.getLogger("remuda.runner")
_STATS_PATIENCE = 2.0
"""Seconds; a runner answers between two steps."""
_BEATS = 4
"""A runner is to give so many signs of life in the time after which its silence is the end of it."""
_LAST_BREATH = 1.0
"""Seconds that a process has to end after it closed its socket; one that is killed by the kernel takes a moment."""
_REFUSALS: Final = {"failed": LoadFailed, "memory": OutOfMemory, "missing": EngineMissing}


class RunnerModel(Generates, Embeds, Tokenizes):
    """Made by `start`. One instance is one process.

    A process that says nothing for `stall_timeout` seconds while it has work is ended, as if it had died.
    """

    def __init__(
        self,
        stall_timeout: Callable[[], float],
        load_timeout: Callable[[], float],
        on_progress: Callable[[float], None] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._child = Child(self._frame, self._gone)
        self._boxes: dict[int, Mailbox] = {}
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._proof: asyncio.Future[Answer] | None = None
        self._ids = itertools.count(1)
        self._ready: asyncio.Future[Loaded] = self._loop.create_future()
        self._ready.add_done_callback(_forget)
        self._stall_timeout, self._load_timeout, self._on_progress = stall_timeout, load_timeout, on_progress
        self._beat = min(1.0, stall_timeout() / _BEATS)
        self._watchdog = Watchdog(self._owes, self._patience, self._stalled)
        self._farewell: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._closing = False
        self._stats = ModelStats()

    @classmethod
    async def start(
        cls,
        load: Load,
        environment: dict[str, str] | None = None,
        *,
        stall_timeout: Callable[[], float] = lambda: math.inf,
        load_timeout: Callable[[], float] = lambda: math.inf,
        on_progress: Callable[[float], None] | None = None,
    ) -> RunnerModel:
        """Start the process and load. Whatever happens, no process is left behind by a failure.

        The timeouts, in seconds, are asked for anew at each look. A load may go on for as long as it tells of progress
        at least every `load_timeout`. `on_progress` is told how much is done, 0 to 1, and must not raise.

        Raises `LoadFailed`: `OutOfMemory` for want of memory, `EngineMissing` where there is no such engine here.
        """
        model = cls(stall_timeout, load_timeout, on_progress)
        try:
            await model._child.start("remuda.runner.host", environment)
            model._watchdog.begin()
            model._child.send(pack(structs.replace(load, beat=model._beat)))
            loaded = await model._ready
        except RunnerDied as error:
            raise model._load_failure(error) from None
        except BaseException:
            await asyncio.shield(model.close())
            raise
        model.context, model.parallel = loaded.context, loaded.parallel
        model._stats, model.embeds = loaded.stats, loaded.embeds
        if loaded.unconfined:
            _log_unconfined(loaded.unconfined)
        return model

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.connected and not self._closing

    async def ended(self) -> str:
        """As `LoadedModel.ended`."""
        await self._ended.wait()
        return self._child.last_words

    async def close(self) -> None:
        self._closing = True
        self._watchdog.stop()
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
    def _asking(self, request: Submit | Embed) -> Generator[Mailbox, None, None]:
        """The news of a request, which is cancelled if the block ends before they do."""
        if not self.alive:
            raise RunnerDied(self._child.last_words)
        self._about_to_ask()
        box = self._boxes[request.id] = Mailbox()
        try:
            self._child.send(pack(request))
            yield box
        finally:
            if not box.ended and self.alive:
                self._child.send(pack(Cancel(request.id)))
                self._see_that_it_lives()
            del self._boxes[request.id]

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
        future = self._put(ask)
        try:
            answer = await future
        finally:
            self._asked.pop(ask.id, None)
        if answer.error:
            raise EngineError(answer.error)
        return answer

    def _put(self, ask: Ask) -> asyncio.Future[Answer]:
        self._about_to_ask()
        future = self._asked[ask.id] = self._loop.create_future()
        self._child.send(pack(ask))
        return future

    def _see_that_it_lives(self) -> None:
        """A question that nobody waits for but the watchdog.

        Clients that leave a hanging process one after the other, each before the patience is over, would keep it.
        """
        if self._proof is None or self._proof.done():
            self._proof = self._put(Ask(next(self._ids)))
            self._proof.add_done_callback(_forget)

    def _about_to_ask(self) -> None:
        if not self._owes():
            self._watchdog.begin()

    def _owes(self) -> bool:
        """Whether the process has something to answer."""
        return not self._ready.done() or bool(self._asked) or not all(box.answered for box in self._boxes.values())

    def _patience(self) -> float:
        if not self._ready.done():
            return self._load_timeout()
        return max(self._stall_timeout(), self._beat * _BEATS)

    def _stalled(self, seconds: float) -> None:
        if self._ready.done():
            self._child.kill(f"it gave no sign of life for {seconds:g} seconds and was ended")
        else:
            words = f"timed out waiting for the model to load: no progress for {seconds:g} seconds"
            self._child.kill(words)
            self._ready.set_exception(LoadFailed(words))

    def _frame(self, body: bytes) -> None:
        self._watchdog.heard = self._loop.time()
        message = unpack_up(body)
        if isinstance(message, Batch):
            for news in message.news:
                if box := self._boxes.get(news.id):
                    box.put(news)
        elif isinstance(message, Answer):
            future = self._asked.pop(message.id, None)
            if future is not None and not future.done():
                future.set_result(message)
        elif isinstance(message, Beat):
            return
        elif self._ready.done():
            raise FrameError("a second answer to the load")
        elif isinstance(message, LoadProgress):
            if self._on_progress is not None:
                self._on_progress(message.fraction)
        elif isinstance(message, LoadRefused):
            self._ready.set_exception(_REFUSALS[message.reason](message.message))
        else:
            self._ready.set_result(message)

    def _load_failure(self, error: RunnerDied) -> LoadFailed:
        if self._child.returncode == -signal.SIGKILL and not self._child.killed:
            return OutOfMemory("the model could not be loaded: the system ended it, probably for want of memory")
        kind = OutOfMemory if self._child.wanted_memory else LoadFailed
        return kind(f"the model could not be loaded: {error}")

    def _gone(self) -> None:
        self._watchdog.stop()
        self._farewell = self._loop.create_task(self._say_farewell(by_itself=not self._closing))

    async def _say_farewell(self, *, by_itself: bool) -> None:
        """Fail all that waits, once the process has ended and said its last words."""
        await (self._child.reap(grace=_LAST_BREATH) if by_itself else self._child.reap())
        error = RunnerDied(self._child.last_words)
        if by_itself:
            _log.error("runner %s is gone: %s", self.pid, self._child.last_words or "no word")
        for box in self._boxes.values():
            box.put(error)
        for future in (self._ready, *self._asked.values()):
            if not future.done():
                future.set_exception(error)
        if by_itself:
            self._ended.set()


def _forget(future: asyncio.Future[Any]) -> None:
    """Take note of its exception, so that nobody is warned of one that was not asked for."""
    if not future.cancelled():
        future.exception()


@cache
def _log_unconfined(reason: str) -> None:
    """Once is enough: it is the same for every process."""
    _log.debug("runners can reach the network: the kernel does not let it be closed to them (%s)", reason)


def _translate(news: News | Exception) -> GenerationEvent:
    if isinstance(news, SeqText):
        return Text(news.text, news.logprobs)
    if isinstance(news, SeqDone):
        return news.done
    raise _failure(news)


def _failure(news: News | Exception) -> Exception:
    if isinstance(news, SeqFailed):
        if news.too_long is not None:
            return PromptTooLong(*news.too_long)
        return error_for_status(news.status, news.message)
    return news if isinstance(news, Exception) else FrameError(f"{type(news).__name__} was not asked for")
