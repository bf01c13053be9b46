"""The way of a job to a model that takes conversations itself: what is refused before, what is done to the answer.

Who does what is said in `remuda.converse`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import cast

from msgspec import structs

from ..backend import Done, LoadedModel
from ..converse import Converses
from ..errors import BadRequest, EngineError, PluginError, RemudaError
from ..job import Event, Job, ToolCalls
from ..model import ModelFacts
from ..output import Text, Thinking
from ..runner.text import TextGate
from .templates import check_abilities

__all__ = ["check_conversation", "conversed"]

_log = logging.getLogger("remuda.pipeline")


def check_conversation(job: Job, facts: ModelFacts) -> None:
    """Raises `BadRequest` for what the model cannot do, and for what makes no sense where nothing is rendered."""
    # A demanded call, too, needs a model that knows of tools: here nobody can make any model write one.
    check_abilities(structs.replace(job, tool_choice=None), facts.capabilities, facts.details.family)
    for field, there, why in (
        ("template", job.template, "it takes messages as they are"),
        ("raw", job.prompt is not None, "it takes messages, not a prompt that is rendered already"),
        ("context", job.context, "it takes messages, not tokens; send the conversation to /api/chat"),
        ("_debug_render_only", job.render_only, "no prompt is rendered for it"),
    ):
        if there:
            raise BadRequest(f'"{job.name}" does not support "{field}": {why}')


async def conversed(model: LoadedModel, job: Job) -> AsyncGenerator[Event | Done, None]:
    """The events of an answer, `Done` last. Closing it stops the work behind it.

    Raises `PluginError` where the model breaks its promise, `EngineError` for what only the log may tell, and what it
    raises of Remuda's own.
    """
    if not isinstance(model, Converses):
        raise BadRequest(f'"{job.name}" does not support {job.endpoint.rpartition("/")[2]}')
    answer = _Answer(job)
    try:
        async with aclosing(_begun(model, job)) as events:
            async for event in events:
                for each in answer.take(event):
                    yield each
                if answer.over:
                    return
    except RemudaError:
        raise
    except Exception as error:
        _log.exception("the backend of model '%s' failed", job.entry.name)
        told = f"the backend of model '{job.entry.name}' raised {type(error).__name__}"
        raise EngineError(f"{told}; the server's log has the details") from error
    raise PluginError(f"the model '{job.entry.name}' ended an answer without `Done`: its backend must send one last")


def _begun(model: Converses, job: Job) -> AsyncGenerator[object, None]:
    events = cast(object, model.converse(job))
    kind = type(events).__name__
    if isinstance(events, AsyncGenerator):
        return cast("AsyncGenerator[object, None]", events)
    if isinstance(events, Coroutine):
        events.close()  # nobody will await it, and Python would complain
    raise PluginError(
        f"`converse` of the model '{job.entry.name}' returned a {kind}: it must be an `async def` that has a `yield`"
    )


class _Answer:
    """One answer on its way out."""

    def __init__(self, job: Job) -> None:
        self._name = job.entry.name
        self._gate = TextGate(job.options.stop)
        self._limit = job.options.num_predict
        self._silent = job.think is False
        self._pieces = 0
        self._began = time.perf_counter_ns()
        self._first = 0
        """When the first event came; 0 before that."""
        self.over = False
        """`Done` went out: nothing follows."""

    def take(self, event: object) -> list[Event | Done]:
        """What goes out for an event of the model, which may be somebody's mistake."""
        self._first = self._first or time.perf_counter_ns()
        match event:
            case Text(text=str()):
                return self._text(event)
            case Thinking(text=str()):
                return self._thinking(event)
            case Text() | Thinking():
                kind, held = type(event).__name__, type(event.text).__name__
                raise PluginError(f"the model '{self._name}' sent a {kind} that holds {held}: it may hold str")
            case ToolCalls():
                return [*self._held(), event]
            case Done():
                return self._end(event)
            case _:
                kinds = "Text, Thinking, ToolCalls or Done"
                raise PluginError(f"the model '{self._name}' sent {type(event).__name__}: it may send {kinds}")

    def _text(self, event: Text) -> list[Event | Done]:
        if self._one_too_many(event.text):
            return self._end(Done(reason="length"))
        text = self._gate.feed(event.text.encode("utf-8", "replace"))
        events: list[Event | Done] = [Text(text, event.logprobs)] if text or event.logprobs else []
        return [*events, *self._end(Done(reason="stop"))] if self._gate.stopped else events

    def _thinking(self, event: Thinking) -> list[Event | Done]:
        if self._one_too_many(event.text):
            return self._end(Done(reason="length"))
        if self._silent or not event.text:
            return []
        return [*self._held(), structs.replace(event, text=event.text.encode("utf-8", "replace").decode())]

    def _one_too_many(self, text: str) -> bool:
        """Whether the piece is beyond the limit: only then is it certain that the model does not keep to it."""
        if text and 0 <= self._limit <= self._pieces:
            return True
        self._pieces += bool(text)
        return False

    def _held(self) -> list[Event | Done]:
        """What might have become a stop string, and did not."""
        text = self._gate.finish()
        return [Text(text)] if text else []

    def _end(self, done: Done) -> list[Event | Done]:
        self.over = True
        now = time.perf_counter_ns()
        told = structs.replace(
            done,
            prompt_ns=done.prompt_ns or max(self._first - self._began, 1),
            output_tokens=done.output_tokens or self._pieces,
            output_ns=done.output_ns or max(now - self._first, 1),
        )
        return [*self._held(), told]
