"""What a long prompt does to those who are being answered: three running streams, and a prompt of 6,000 tokens."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, pairwise

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
_USUAL = 40
"""Arrivals of each stream before the long prompt comes."""
_PATIENCE = 300
_PACE = 0.05


class _Read(Struct, frozen=True):
    """One round, in milliseconds."""

    usual: float
    """The median gap before the prompt comes."""
    meanwhile: float
    """The median gap while it is read."""
    worst: float
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
                say(f"round {turn + 1}  {each.name:12}  usual {read.usual:.1f} ms  worst {read.worst:.1f} ms")
    return [_row(name, rounds) for name, rounds in reads.items()]


async def _read(target: Target, seeds: count[int]) -> _Read:
    async with _running(target, seeds) as streams:
        async with asyncio.timeout(_PATIENCE):
            # A stream that told of each arrival would cost more than to look now and then.
            while not _under_way(streams):  # noqa: ASYNC110
                await asyncio.sleep(_PACE)
            [prompt] = fresh_prompts(1, words_of(_LONG), next(seeds))
            began, reply = await ask(target, prompt, 1)
            first = reply.arrivals[0]
        before = [gap for each in streams for gap in gaps([time for time in each.arrivals if time < began])]
        meanwhile = [gap for each in streams for gap in _gaps_in(each, began, first)]
    return _Read(
        usual=statistics.median(before) * 1000,
        meanwhile=statistics.median(meanwhile) * 1000,
        worst=max(meanwhile) * 1000,
        ttft=(first - began) * 1000,
    )


def _under_way(streams: list[Stream]) -> bool:
    latest = streams[-_RUNNING:]
    return len(latest) == _RUNNING and all(len(each.arrivals) >= _USUAL for each in latest)


def _gaps_in(stream: Stream, began: float, ended: float) -> list[float]:
    """The gaps of which some part is between two moments; one that is not over yet counts until the second."""
    times = stream.arrivals
    if not stream.ended.done() and times and times[-1] < ended:
        times = [*times, ended]
    return [later - sooner for sooner, later in pairwise(times) if later > began and sooner < ended]


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
        "usual_gap_ms": round(statistics.median(each.usual for each in rounds), 1),
        "gap_meanwhile_ms": round(statistics.median(each.meanwhile for each in rounds), 1),
        "worst_gap_ms": round(statistics.median(each.worst for each in rounds), 1),
        "times_usual": round(statistics.median(each.worst / each.usual for each in rounds), 1),
        "ttft_ms": round(statistics.median(each.ttft for each in rounds), 1),
    }


SCENARIO = Scenario(
    "long",
    "Three streams are being written when a prompt of 6,000 tokens comes: the gap between one arrival of their text and"
    " the next, before it and while it is read, and the time to the first token after that prompt.",
    {
        "who": "",
        "usual_gap_ms": "usual gap ms",
        "gap_meanwhile_ms": "usual gap while it is read ms",
        "worst_gap_ms": "worst gap ms",
        "times_usual": "worst / usual",
        "ttft_ms": "TTFT of the long prompt ms",
    },
    _measure,
)
