"""A simulated machine of two cores with neighbours, for the control of compute threads. No step really takes time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, pairwise
from typing import NamedTuple

from remuda_llamacpp.threads.control import ThreadControl, Work

__all__ = [
    "LOADS",
    "MS",
    "SECOND",
    "STEADY",
    "Race",
    "World",
    "alone",
    "always",
    "between",
    "controlled",
    "go",
    "mixed",
    "now_and_then",
    "rows_of",
    "serving",
]

MS = 1_000_000
SECOND = 1000 * MS
EVER = 1 << 60

Situation = Callable[[float], tuple[str, float]]
"""What the neighbours do at a time, and until when."""
Load = Callable[[int], Iterator[tuple[Work, int]]]
"""Steps, by a seed."""

ALONE = {2: {1: 5.3, 4: 18, 8: 30, 16: 49, 128: 256}, 1: {1: 5.8, 4: 27.8, 8: 52, 16: 100, 128: 457}}
"""Measured milliseconds of a step, by threads and rows."""
STRETCHED = {
    "none": {2: 1, 1: 1},
    "one": {2: 47 / 18, 1: 31 / 27.8},
    "two": {2: 48 / 18, 1: 29 / 27.8},
    "halves": {2: 43 / 18, 1: 28 / 27.8},
    "storm": {2: 80, 1: 1.2},
}
"""Beside neighbours: one or two that are always busy, two that are so half of the time; and where threads spin."""
STEADY = ["one", "two", "halves"]


@cache
def alone(threads: int, rows: int) -> float:
    """Nanoseconds; on the line through the points, in logarithms."""
    points = ALONE[threads]
    few = max(point for point in points if point <= rows)
    many = min(point for point in points if point >= rows)
    share = math.log(rows / few) / math.log(many / few) if many > few else 0
    return MS * points[few] * (points[many] / points[few]) ** share


def always(name: str) -> Situation:
    return lambda _: (name, EVER)


def between(start: int, end: int, name: str = "one") -> Situation:
    """Seconds."""
    ends = [("none", start * SECOND), (name, end * SECOND), ("none", EVER)]
    return lambda now: next((what, until) for what, until in ends if now < until)


def now_and_then(busy: int, period: int) -> Situation:
    """Milliseconds."""

    def situation(now: float) -> tuple[str, float]:
        begin = now // (period * MS) * period * MS
        on = begin + busy * MS
        return ("one", on) if now < on else ("none", begin + period * MS)

    return situation


def rows_of(rows: int) -> Load:
    return lambda _: cycle([(Work.DECODE, rows)])


def mixed(seed: int) -> Iterator[tuple[Work, int]]:
    chance, rows = random.Random(seed), 4
    while True:
        if chance.random() < 0.06:
            rows = chance.randint(1, 16)
        yield Work.DECODE, rows
        if chance.random() < 0.06:
            yield Work.PREFILL, chance.choice((128, 128, 128, 70))


def serving(_: int) -> Iterator[tuple[Work, int]]:
    """Four streams with prompts of 128 tokens and answers of 64."""
    return cycle([(Work.DECODE, 4)] * 16 + [(Work.PREFILL, 128)])


LOADS = {"1": rows_of(1), "4": rows_of(4), "16": rows_of(16), "mixed": mixed, "serving": serving}


class Step(NamedTuple):
    begin: int
    end: int
    work: Work
    rows: int
    threads: int


class World:
    """Two cores, where a step takes what it takes alone, stretched by the neighbours of each moment, and by chance."""

    def __init__(self, situation: Situation, seed: int = 0, *, prefill: float = 1.0, errands: float = 0.02) -> None:
        """`prefill`: how much of the stretching the reading of prompts feels. `errands`: in how many steps the server
        has work of its own.
        """
        self.situation, self.now, self.steps = situation, 0, list[Step]()
        self._chance, self._prefill, self._errands = random.Random(seed), prefill, errands
        self._asked, self._idle = 0, 0.0

    def step(self, work: Work, rows: int, threads: int) -> int:
        left = alone(threads, rows) * math.exp(self._chance.gauss(0, 0.04))
        if self._chance.random() < self._errands:
            left += min(left * self._chance.uniform(0.5, 2), 40 * MS) / (1 if threads == 2 else 6)
        now, factor = float(self.now), 1.0
        while left > 0:
            name, until = self.situation(now)
            factor = STRETCHED[name][threads]
            if work is Work.PREFILL and threads == 2:
                factor = 1 + (min(factor, 5) - 1) * self._prefill
            done = min(left, (until - now) / factor)
            left, now = left - done, (until if done < left else now + done * factor)
        if threads == 2 and name in STEADY and self._chance.random() < 0.05:
            now += self._chance.uniform(60, 180) * MS  # spinning
        begin, self.now = self.now, round(now)
        self.steps.append(Step(begin, self.now, work, rows, threads))
        return self.now - begin

    def idle(self, now: int) -> float:
        """Of the core that one thread leaves free, in the last half second."""
        if now - self._asked >= SECOND // 2:
            moments = range(self._asked, now, 10 * MS)
            free = sum(self.situation(moment)[0] == "none" for moment in moments) / len(moments)
            self._idle = free if now - self._asked < 2 * SECOND else 0
            self._asked = now
        return self._idle

    def speed(self, begin: float, end: float) -> float:
        """Work done between two seconds, in seconds of two threads alone."""
        begin, end = begin * SECOND, end * SECOND
        done = 0.0
        for step in self.steps:
            share = min(step.end, end) - max(step.begin, begin)
            if share > 0:
                done += share / (step.end - step.begin) * alone(2, step.rows) / SECOND
        return done

    def switches(self, work: Work, rows: int) -> int:
        used = [step.threads for step in self.steps if (step.work, step.rows) == (work, rows)]
        return sum(one != other for one, other in pairwise(used))


class Race:
    """The control and each fixed number, with the same load in the same situation."""

    def __init__(
        self, situation: Situation, load: Load, seconds: int, seed: int = 0, *, hint: bool = True, prefill: float = 1.0
    ) -> None:
        self.world = World(situation, seed, prefill=prefill)
        self.control = controlled(self.world, hint=hint)
        self.fixed = {threads: World(situation, seed, prefill=prefill) for threads in (1, 2)}
        go(self.world, load(seed), seconds, self.control)
        for threads, world in self.fixed.items():
            go(world, load(seed), seconds, threads)

    def ratio(self, begin: float, end: float) -> float:
        """The control's speed against the best fixed one's."""
        return self.world.speed(begin, end) / max(world.speed(begin, end) for world in self.fixed.values())


def controlled(world: World, *, hint: bool = True, up: int = 0) -> ThreadControl:
    """`up`: for so many seconds the machine has been running."""
    up *= SECOND
    return ThreadControl((2, 1), clock=lambda: up + world.now, idle=lambda now: world.idle(now - up) if hint else None)


def go(world: World, load: Iterator[tuple[Work, int]], seconds: float, by: ThreadControl | int) -> None:
    for work, rows in load:
        if world.now >= seconds * SECOND:
            return
        if isinstance(by, int):
            world.step(work, rows, by)
        else:
            threads = by.threads(work, rows)
            by.note(work, rows, threads, world.step(work, rows, threads))
