"""What all scenarios have in common: what was asked for, rounds, and a turn of everybody with the same prompts.

A scenario is one question, such as what a busy neighbour costs. It opens those whom it compares, lets each take its
turn in every round, and gives rows. What a row is of, `Scenario.columns` and `Scenario.about` say.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from .client import TooShort
from .measure import Run, in_turn
from .table import Columns, Row

__all__ = ["Bench", "Contestant", "Scenario", "one_turn", "say"]

_TRIES = 4


class Bench(Struct, kw_only=True):
    """What was asked for, and how far it has come."""

    model: str
    weights: str
    rounds: int
    minutes: float
    """After so long no further round of a scenario begins."""
    streams: tuple[int, ...]
    words: int
    """Of a prompt."""
    tokens: int
    """To generate."""
    threads: int
    folder: Path
    """For files of the contestants; nobody else's."""
    llama_server: str | None = None
    batched_bench: str | None = None

    begun: int = 0
    """Rounds of the present scenario: fewer than were asked for when its time is up."""

    def turns(self) -> Iterator[int]:
        """The numbers of the rounds, at least that of one."""
        until = time.monotonic() + self.minutes * 60
        for turn in range(self.rounds):
            if turn and time.monotonic() > until:
                say(f"time is up after {turn} rounds")
                return
            self.begun = turn + 1
            yield turn


class Contestant(Protocol):
    """Who can run streams."""

    @property
    def name(self) -> str: ...

    async def run(self, prompts: list[str], tokens: int) -> Run:
        """Raises `TooShort` if a text is shorter."""
        ...


class Scenario(Struct, frozen=True):
    """One question and how it is answered."""

    name: str
    about: str
    """What was measured and how, as Markdown: the paragraph above the table."""
    columns: Columns
    measure: Callable[[Bench], Awaitable[list[Row]]]


async def one_turn(
    everybody: Sequence[Contestant], turn: int, take: Callable[[], Awaitable[list[str]]], tokens: int
) -> dict[str, Run]:
    """Everybody once, with the same prompts, by name.

    A text may end early with one of them although it does not with the bare loop: sums in another order choose
    another token where two are nearly as likely. Then all have their turn again, with other prompts. Raises
    `TooShort` when that does not help.
    """
    for attempt in range(_TRIES):
        prompts = await take()
        try:
            runs = {each.name: await each.run(prompts, tokens) for each in in_turn(everybody, turn)}
        except TooShort as error:
            if attempt == _TRIES - 1:
                raise
            say(f"again with other prompts: {error}")
            continue
        for name, run in runs.items():
            say(f"round {turn + 1}  {run.streams:2} streams  {name:28} {run.rate:7.1f} tokens/s")
        return runs
    raise AssertionError("unreachable")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
