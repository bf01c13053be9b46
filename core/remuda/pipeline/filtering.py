"""One request on its way through one filter, whose code is somebody else's.

A filter is an async generator that walks over another one, what lies behind it. Its own time is what passes while it
neither waits for the next event from behind nor has handed one on: neither a slow model nor a slow client counts. A
timeout in the task of the request goes with it, stopped whenever the filter waits.

It gets a copy of the job: what it changes in place reaches nobody but through `proceed`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from copy import deepcopy
from typing import Any, Final, TypeAlias, get_args

from msgspec import structs

from ..backend import Done
from ..hookspecs import Filter
from ..job import Event, Finished, Job, Loaded, Rendered, ToolCalls
from ..output import Text, Thinking, ToolCall
from ..plugins import stray

__all__ = ["FilterFault", "Passage", "Proceed", "separate"]

Proceed: TypeAlias = Callable[[Job], AsyncGenerator[Event, None]]

_EVENTS: Final = get_args(Event)
_LAST: Final = (Finished, Loaded, Rendered)

_log = logging.getLogger("remuda.pipeline")


class FilterFault(Exception):
    """The filter did what it must not; says what, with the fix in a second line."""


def separate(job: Job) -> Job:
    """A copy that shares with the job nothing that can be changed, but for the model's entry."""
    changeable = any(message.tool_calls for message in job.messages)
    return structs.replace(
        job,
        given=deepcopy(job.given),
        messages=deepcopy(job.messages) if changeable else list(job.messages),
        context=list(job.context),
        tools=deepcopy(job.tools) if job.tools else (),
        format=deepcopy(job.format),
    )


class Passage:
    """Walk over `events`, then read what it cost in `own_ns`."""

    def __init__(self, filter: Filter, proceed: Proceed, job: Job, budget: float) -> None:
        """`budget` is the filter's own time between two events, in seconds."""
        self._filter, self._proceed, self._budget = filter, proceed, budget
        self._entry = job.entry
        self._given = structs.replace(separate(job), entry=deepcopy(job.entry))
        self._scope: asyncio.Timeout | None = None
        self._since: int | None = None
        """When its own time began to run; None while it does not."""
        self._waits = 0
        """Events from behind that it waits for: more than one if it has tasks of its own."""
        self._opened: list[AsyncGenerator[Event, None]] = []
        self._walked = self._ended = False
        """What lies behind came to its end; so did the answer there, with its last event."""
        self._late = False
        self._over = False
        """Nobody wants any more of what lies behind, whoever still walks over it."""
        self.behind: BaseException | None = None
        """What the work behind raised: no fault of the filter's that it passes on."""
        self.own_ns = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        """What the filter gives. Raises `FilterFault`, and what it raises. Closing it closes the work behind."""
        self._resume()
        try:
            events: Any = self._filter.wrap(self._given, self._behind)
        except BaseException as error:
            self._blame(error)
            raise
        finally:
            self._pause()
        if not hasattr(events, "__anext__") or not hasattr(events, "aclose"):
            if asyncio.iscoroutine(events):
                events.close()
            text = f"its wrap returned a {type(events).__name__} and no async generator"
            raise FilterFault(f"{text}\nFix: write it as `async def` with `yield`")
        given = 0
        last = False
        try:
            while True:
                try:
                    event = await self._next(events)
                except StopAsyncIteration:
                    break
                _check(event, last)
                given, last = given + 1, isinstance(event, _LAST)
                yield event
            if not last and (self._ended or not self._walked):
                text = "it broke off before its end" if given else "it gave no answer"
                raise FilterFault(f"{text}\nFix: hand on the last event (remuda.Finished), or raise an error")
        finally:
            await self._close(events)

    async def _next(self, events: AsyncGenerator[Any, None]) -> Any:
        """Raises `FilterFault` when the filter takes too long, and `StopAsyncIteration` at its end."""
        scope = asyncio.timeout(None if self._waits else self._budget)
        try:
            async with scope:
                self._scope = scope
                self._resume()
                try:
                    event = await anext(events)
                finally:
                    self._pause()
                    self._scope = None
        except Exception as error:
            if scope.expired():
                raise self._too_long() from error
            raise
        except BaseException as error:
            self._blame(error)
            raise
        if self._late or scope.expired():
            raise self._too_long()
        return event

    def _blame(self, error: BaseException) -> None:
        """Raises `FilterFault` for an error of the filter's own that is no `Exception`, which is nobody's to catch."""
        if error is not self.behind and stray(error):
            text = f"it raised {type(error).__name__}"
            _log.error("a filter raised %s", type(error).__name__, exc_info=error)
            raise FilterFault(f"{text}\nFix: raise a remuda.RemudaError to refuse a request") from error

    def _too_long(self) -> FilterFault:
        text = f"it took more than {self._budget:g} s between two events (plugins.budget)"
        return FilterFault(f"{text}\nFix: do slow work elsewhere, or raise plugins.budget")

    def _behind(self, job: Job) -> AsyncGenerator[Event, None]:
        """The filter's `proceed`."""
        if not isinstance(job, Job):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise FilterFault(f"it called proceed with a {type(job).__name__}\nFix: give it a remuda.Job")
        if job.entry is self._given.entry:
            job = structs.replace(job, entry=self._entry)
        walk = self._walk(job)
        self._opened.append(walk)
        return walk

    async def _walk(self, job: Job) -> AsyncGenerator[Event, None]:
        async with aclosing(self._proceed(job)) as events:
            while not self._over:
                self._wait()
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    self._walked = True
                    return
                except BaseException as error:
                    self.behind = error
                    raise
                finally:
                    self._go_on()
                self._ended = self._ended or isinstance(event, _LAST)
                if not self._over:
                    yield event

    def _wait(self) -> None:
        self._waits += 1
        self._pause()
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(None)

    def _go_on(self) -> None:
        self._waits -= 1
        if self._scope is not None and not self._waits:
            self._resume()
            if not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time() + self._budget)

    def _resume(self) -> None:
        self._since = None if self._waits else time.perf_counter_ns()

    def _pause(self) -> None:
        if self._since is not None:
            took = time.perf_counter_ns() - self._since
            self.own_ns += took
            self._late = self._late or took > self._budget * 1e9
            self._since = None

    async def _close(self, events: AsyncGenerator[Any, None]) -> None:
        """First what lies behind, which nothing keeps from ending; where a task of the filter's waits for it, with the
        next event."""
        self._over = True
        await self._close_behind()
        try:
            async with asyncio.timeout(self._budget):
                await events.aclose()
        except Exception:
            _log.exception("a filter could not be closed")
        await self._close_behind()

    async def _close_behind(self) -> None:
        for walk in self._opened:
            with suppress(RuntimeError):  # it runs
                await walk.aclose()


def _check(event: Any, ended: bool) -> None:
    """Raises `FilterFault` for what is no event, or none that may follow."""
    if not isinstance(event, _EVENTS):
        text = f"it yielded a {type(event).__name__}"
        raise FilterFault(f"{text}\nFix: yield events: {', '.join(each.__name__ for each in _EVENTS)} of remuda")
    if ended:
        raise FilterFault("it went on after the last event\nFix: end there")
    if isinstance(event, (Text, Thinking)):
        right = isinstance(event.text, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    elif isinstance(event, Finished):
        numbers = isinstance(event.total_ns, int) and isinstance(event.load_ns, int)  # pyright: ignore[reportUnnecessaryIsInstance]
        right = numbers and isinstance(event.done, Done)  # pyright: ignore[reportUnnecessaryIsInstance]
    else:
        right = not isinstance(event, ToolCalls) or all(isinstance(call, ToolCall) for call in event.calls)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not right:
        text = f"it yielded a {type(event).__name__} that holds something else than it must"
        raise FilterFault(f"{text}\nFix: give each field the type that it has in remuda")
