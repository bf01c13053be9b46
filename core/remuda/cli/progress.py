"""Showing how a pull, a push or a create gets on: bars on a terminal, plain lines that can be read later elsewhere.

Everything goes to stderr: what a command answers, on stdout, stays clean.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import click
from msgspec import Struct

from .humanize import human_size
from .replies import Progress
from .wrap import harmless

if TYPE_CHECKING:  # rich is imported where it draws: most commands never do
    from rich.console import RenderableType
    from rich.progress import Progress as Bars, TaskID

__all__ = ["Display", "can_draw", "display", "show_progress"]

_Key: TypeAlias = tuple[str, str, str]

_STEP: Final = 10
"""Percent between two plain lines about one transfer."""
_SECONDS: Final = 2.0
"""And the least time between them."""


class Display(ABC):
    """Where progress is shown, while its context is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """What was shown stays."""
        return

    @abstractmethod
    def update(self, event: Progress) -> None:
        """An event with a digest tells how far that transfer is; one without ends what came before it at its place."""


def can_draw() -> bool:
    """Whether stderr is a terminal that can show what moves."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}


def display() -> Display:
    """The one that fits what stderr is."""
    return _Drawn() if can_draw() else Written()


def show_progress(events: Generator[Progress, None, None]) -> None:
    """Show all of a stream. Left early (Ctrl-C), it closes the connection."""
    with closing(events), display() as shown:
        for event in events:
            shown.update(event)


class _Step(Struct):
    """The last line about a transfer: when, and at how many percent."""

    at: float
    percent: int


class Written(Display):
    """Each status once; of a transfer its beginning, its end, and a line now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._statuses: dict[str, str] = {}
        """The last one of each place."""
        self._steps: dict[_Key, _Step] = {}

    def update(self, event: Progress) -> None:
        status = _words(event)
        if not event.digest or event.total <= 0:
            if status != self._statuses.get(event.upstream, ""):
                click.echo(status, err=True)
            self._statuses[event.upstream] = status
        elif self._worth_a_line(_key(event), percent := _percent(event)):
            click.echo(f"{status}: {percent}% of {human_size(event.total)}", err=True)

    def _worth_a_line(self, key: _Key, percent: int) -> bool:
        now, before = self._clock(), self._steps.get(key)
        if before is not None:
            due = percent >= before.percent + _STEP and now >= before.at + _SECONDS
            if percent == before.percent or not (due or percent == 100):
                return False
        self._steps[key] = _Step(now, percent)
        return True


class _Drawn(Display):
    """What goes on at each place; what is over stays above, as it was last."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._places: dict[str, _Place] = {}
        self._live = Live(
            console=Console(stderr=True), get_renderable=self._drawn, refresh_per_second=10, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for place in self._places.values():
            place.end()
        self._live.stop()

    def update(self, event: Progress) -> None:
        place = self._places.get(event.upstream)
        if place is None:
            # Another thread draws than the one that updates: it must not meet a dict that grows.
            place = _Place(self._keep)
            self._places = {**self._places, event.upstream: place}
        place.update(event)

    def _drawn(self) -> RenderableType:
        from rich.console import Group

        return Group(*(drawn for place in self._places.values() if (drawn := place.drawn())))

    def _keep(self, left: RenderableType) -> None:
        self._live.refresh()
        self._live.console.print(left)


class _Place:
    """What goes on at the server, or at one upstream of it: a spinner for a status, or a bar for each transfer."""

    def __init__(self, keep: Callable[[RenderableType], None]) -> None:
        """`keep` leaves something above all that moves."""
        self._keep = keep
        self._shown: RenderableType = ""
        self._ended: RenderableType | None = None
        """What stays of what is shown, once something else follows it."""
        self._bars: Bars | None = None
        self._tasks: dict[_Key, TaskID] = {}

    def drawn(self) -> RenderableType:
        bars = self._bars  # another thread draws than the one that updates
        return bars.get_renderable() if bars else self._shown

    def update(self, event: Progress) -> None:
        if event.digest and event.total > 0:
            self._transfer(event)
        else:
            self._state(_words(event))

    def end(self) -> None:
        """Leave what is shown above what comes next."""
        left = self._bars.get_renderable() if self._bars else self._ended
        self._bars, self._tasks, self._shown, self._ended = None, {}, "", None
        if left is not None:
            self._keep(left)

    def _state(self, status: str) -> None:
        from rich.spinner import Spinner
        from rich.text import Text

        line = Text(status)
        if self._bars is not None or line != self._ended:
            self.end()
            self._ended, self._shown = line, Spinner("dots", line)

    def _transfer(self, event: Progress) -> None:
        if self._bars is None:
            self.end()
            self._bars = _new_bars()
        task = self._tasks.get(_key(event))
        if task is None:
            task = self._tasks[_key(event)] = self._bars.add_task(_words(event))
        self._bars.update(task, completed=event.completed, total=event.total)


def _new_bars() -> Bars:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    # What a server says is no markup.
    words = TextColumn("{task.description}", markup=False)
    percent = TextColumn("{task.percentage:>3.0f}%")
    return Progress(
        words, BarColumn(), percent, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True)
    )


def _key(event: Progress) -> _Key:
    """What a transfer is known by. All work on weights that have no digest yet has the same in its place."""
    return event.upstream, event.digest, event.status


def _words(event: Progress) -> str:
    """What an event says, and of where, if it says that."""
    return harmless(f"{event.upstream}: {event.status}" if event.upstream else event.status)


def _percent(event: Progress) -> int:
    return min(100, max(0, event.completed * 100 // event.total))
