"""What a long prompt does to those who are being answered: three running streams, and a prompt of 6,000 tokens.

Their texts grow by thousands of tokens meanwhile, and with them their steps, prompt or not. So the usual gap is taken
before the prompt comes and after it is read, and a gap between is compared with what is usual at its moment: on the
line through both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, pairwise
from statistics import median

from msgspec import Struct

from ..bench import Bench, Scenario, say
from ..client import Stream, Target, ask, open_stream, request
from ..contestants import Served, kindest, open_llama_server, open_remuda
from ..measure import gaps, in_turn
from ..prompts import fresh_prompts, words_of
from ..table import Row

__all__ = ["SCENARIO"]

_RUNNING, _LONG, _CONTEXT, _PARALLEL = 3, 6000, 8192, 4
_ENDLESS = 4000
"""Tokens of a running stream: more than are written while the prompt is read."""
_SETTLED = 300
"""Arrivals of each stream before the long prompt comes: a text that has gone on for so long hardly ends before the
prompt is read, and the next one's prompt would have to be read as well."""
_USUAL = 40
"""Arrivals of each stream from which it is told what is usual, before the long prompt and after it."""
_PATIENCE = 300
_PACE = 0.05


class _Read(Struct, frozen=True):
    """One round, in milliseconds."""

    before: float
    """The median gap before the prompt comes."""
    after: float
    """The median gap after it is read."""
    meanwhile: float
    """The median gap while it is read."""
    worst: float
    times: float
    """The most that a gap is of what is usual at its moment."""
    ttft: float
    """Of the long prompt."""


async def _measure(bench: Bench) -> list[Row]:
    async with AsyncExitStack() as stack:
        opening = [open_remuda(bench, "Remuda", _PARALLEL, _CONTEXT)]
        if bench.llama_server:
            arguments = (*kindest(bench, _PARALLEL, _CONTEXT), "--no-kv-unified")
            opening.append(open_llama_server(bench, "llama-server", *arguments))
            # It reads as much of a prompt between two tokens as fits into a batch: 2,048 tokens unless told otherwise.
            opening.append(open_llama_server(bench, "llama-server, -b 128", *arguments, "-b", "128"))
        everybody: list[Served] = [await stack.enter_async_context(each) for each in opening]
        seeds = count(5000)
        for each in everybody:
            await ask(each.target, fresh_prompts(1, 20, next(seeds))[0], 8)
        reads: dict[str, list[_Read]] = {each.name: [] for each in everybody}
        for turn in bench.turns():
            for each in in_turn(everybody, turn):
                read = await _read(each.target, seeds)
                reads[each.name].append(read)
                usual = f"usual {read.before:.1f} to {read.after:.1f} ms"
                say(f"round {turn + 1}  {each.name:12}  {usual}  worst {read.worst:.1f} ms, {read.times:.1f} times")
    return [_row(name, rounds) for name, rounds in reads.items()]


async def _read(target: Target, seeds: count[int]) -> _Read:
    async with _running(target, seeds) as streams, asyncio.timeout(_PATIENCE):
        await _until(streams, 0, _SETTLED)
        [prompt] = fresh_prompts(1, words_of(_LONG), next(seeds))
        began, reply = await ask(target, prompt, 1)
        first = reply.arrivals[0]
        await _until(streams, first, _USUAL)
        before = median([gap for each in streams for gap in gaps(_before(each, began)[-_USUAL:])])
        after = median([gap for each in streams for gap in gaps([at for at in each.arrivals if at > first])])
        meanwhile = [pair for each in streams for pair in _gaps_in(each, began, first)]

    def usual(at: float) -> float:
        return before + (after - before) * min((at - began) / (first - began), 1)

    return _Read(
        before=before * 1000,
        after=after * 1000,
        meanwhile=median([gap for gap, _ in meanwhile]) * 1000,
        worst=max(gap for gap, _ in meanwhile) * 1000,
        times=max(gap / usual(at) for gap, at in meanwhile),
        ttft=(first - began) * 1000,
    )


async def _until(streams: list[Stream], since: float, arrivals: int) -> None:
    """Wait for so many arrivals of each stream, those after a moment counted."""
    # A stream that told of each arrival would cost more than to look now and then.
    while not _have(streams, since, arrivals):  # noqa: ASYNC110
        await asyncio.sleep(_PACE)


def _have(streams: list[Stream], since: float, arrivals: int) -> bool:
    running = [each for each in streams if not each.ended.done()]
    enough = [each for each in running if sum(at > since for at in each.arrivals) >= arrivals]
    return len(enough) == _RUNNING


def _before(stream: Stream, end: float) -> list[float]:
    return [at for at in stream.arrivals if at < end]


def _gaps_in(stream: Stream, began: float, ended: float) -> list[tuple[float, float]]:
    """The gaps of which some part is between two moments, and when they were over; one that is not over yet counts
    until the second."""
    times = stream.arrivals
    if not stream.ended.done() and times and times[-1] < ended:
        times = [*times, ended]
    return [(later - sooner, later) for sooner, later in pairwise(times) if later > began and sooner < ended]


@asynccontextmanager
async def _running(target: Target, seeds: count[int]) -> AsyncGenerator[list[Stream], None]:
    """Streams that are being answered until this ends; one that ends before is followed by another."""
    streams: list[Stream] = []

    async def keep() -> None:
        while True:
            stream = await open_stream(target)
            streams.append(stream)
            stream.send(request(target, fresh_prompts(1, 20, next(seeds))[0], _ENDLESS))
            try:
                await stream.ended
            finally:
                stream.abort()
            stream.reply()  # raises if it was an error

    keepers = [asyncio.create_task(keep()) for _ in range(_RUNNING)]
    try:
        yield streams
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


def _row(name: str, rounds: list[_Read]) -> Row:
    return {
        "who": name,
        "usual_gap_ms": round(median(each.before for each in rounds), 1),
        "gap_after_ms": round(median(each.after for each in rounds), 1),
        "gap_meanwhile_ms": round(median(each.meanwhile for each in rounds), 1),
        "worst_gap_ms": round(median(each.worst for each in rounds), 1),
        "times_usual": round(median(each.times for each in rounds), 1),
        "ttft_ms": round(median(each.ttft for each in rounds), 1),
    }


SCENARIO = Scenario(
    "long",
    "Three streams are being written when a prompt of 6,000 tokens comes: the gap between one arrival of their text and"
    " the next, before it, while it is read, and after it, when they are longer by all that they wrote meanwhile; and"
    " the time to the first token after that prompt. What is usual in between is on the line through both.",
    {
        "who": "",
        "usual_gap_ms": "usual gap before ms",
        "gap_after_ms": "usual gap after ms",
        "gap_meanwhile_ms": "usual gap while it is read ms",
        "worst_gap_ms": "worst gap ms",
        "times_usual": "worst gap, in usual ones of its moment",
        "ttft_ms": "TTFT of the long prompt ms",
    },
    _measure,
)
