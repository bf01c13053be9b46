"""`make bench-proxy`: what it costs to stand in front of a model server: Remuda, nginx and LiteLLM against none.

    make bench-proxy BENCH_ARGS="--rounds 5 --seconds 4 --json figures.json"
    make bench-proxy BENCH_ARGS="--only remuda,nginx --streams 1,50"

A scripted upstream answers at once, so what is measured is the way there and back. In each round every contestant has
its turn, first with short unary requests that arrive at fixed times, then with many streams; each is compared with
asking the upstream directly in the same round. LiteLLM is asked in the dialect that it speaks, the others in Ollama's.
Where a proxy answers fewer requests a second than it gets, its latencies are those of a queue that grows: they say that
it is overloaded, not what it adds; the lowest of the default rates is there because all can keep up with it.
Bounded by rounds, seconds, connections and lines; loopback only. Every process shares the same cores. Processor times
tell more than latencies on a machine that has other things to do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from .children import Missing
from .measure import in_turn
from .proxy_contestants import NAMES, Contestant, check, open_contestant, open_helper
from .proxy_load import Order, Streamed, Unary
from .proxy_report import StreamRun, UnaryRun, latency_rows, memory_rows, stream_rows
from .table import print_table

_PACE = 0.1
"""Seconds between two looks at the memory."""
_WARM_UP = 1.0
_CALM = 0.05
"""The share of a core below which a proxy counts as idle again."""
_CALM_PACE = 0.2
_CALM_LOOKS = 300
"""LiteLLM works on for long on streams that nobody reads any more, and would slow down those that come after it."""

_LATENCY = {
    "rate": "requests/s",
    "contestant": "through",
    "answered": "answered/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "added_p50_ms": "added p50 ms",
    "added_p99_ms": "added p99 ms",
    "times_less_p50": "times less than LiteLLM, p50",
    "times_less_p99": "p99",
    "processor_per_1000": "CPU s / 1000 requests",
    "errors": "errors",
    "lost": "lost",
}
_STREAMED = {
    "streams": "streams",
    "contestant": "through",
    "lines_per_second": "lines/s",
    "share": "share of direct",
    "processor_per_100000": "CPU s / 100,000 lines",
    "never_begun": "never begun",
    "errors": "errors",
}
_MEMORY = {
    "contestant": "through",
    "streams": "streams",
    "before_mib": "MiB before",
    "peak_mib": "peak",
    "after_first_mib": "after the first round",
    "after_last_mib": "after the last",
}


class _Figures(Struct):
    """All runs, by rate or number of streams and by contestant, in the order of the rounds."""

    unary: dict[int, dict[str, list[UnaryRun]]]
    streams: dict[int, dict[str, list[StreamRun]]]
    base_of: dict[str, str]
    """Each proxy with the name of what it is measured against."""
    missing: dict[str, str]


class _Bench:
    def __init__(self, given: argparse.Namespace, load: asyncio.subprocess.Process) -> None:
        self._given, self._load = given, load

    async def _send(self, order: Order) -> bytes:
        assert self._load.stdin is not None
        assert self._load.stdout is not None
        self._load.stdin.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(order.seconds * 4 + 30):
            return await self._load.stdout.readline()

    async def unary(self, contestant: Contestant, rate: int, seconds: float) -> UnaryRun:
        order = Order(
            port=contestant.port,
            dialect=contestant.dialect,
            seconds=seconds,
            connections=self._given.connections,
            rate=rate,
        )
        before = contestant.cost()
        answer = msgspec.json.decode(await self._send(order), type=Unary)
        await _calm(contestant)
        processor = (contestant.cost().processor - before.processor) / answer.sent * 1000
        p50, p99 = (answer.latencies[int(len(answer.latencies) * share)] for share in (0.5, 0.99))
        return UnaryRun(p50, p99, processor, answer.sent, answer.rate, answer.errors, answer.lost, answer.late)

    async def streams(self, contestant: Contestant, streams: int, seconds: float) -> StreamRun:
        order = Order(
            port=contestant.port,
            dialect=contestant.dialect,
            seconds=seconds,
            connections=streams,
            lines=self._given.lines,
        )
        before = contestant.cost()
        peak = before.memory

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, contestant.cost().memory)
                await asyncio.sleep(_PACE)

        watching = asyncio.create_task(watch())
        try:
            answer = msgspec.json.decode(await self._send(order), type=Streamed)
            await _calm(contestant)
        finally:
            watching.cancel()
        after = contestant.cost()
        spent = after.processor - before.processor
        processor = spent / answer.lines * 100_000 if answer.lines else None
        memory = (before.memory, peak, after.memory)
        return StreamRun(answer.rate, processor, answer.lines, answer.begun, answer.errors, *memory)


async def _calm(contestant: Contestant) -> None:
    """Waits, not for ever, until the proxy has done all that it was asked to do."""
    for _ in range(_CALM_LOOKS):
        before = contestant.cost().processor
        await asyncio.sleep(_CALM_PACE)
        if contestant.cost().processor - before < _CALM_PACE * _CALM:
            return
    _say(f"{contestant.name} is still busy with what it was asked")


async def _measure(given: argparse.Namespace, folder: Path) -> _Figures:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # or the proxies would outlive this
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(open_helper("proxy_upstream"))
        bench = _Bench(given, await stack.enter_async_context(open_helper("proxy_load")))
        assert upstream.stdout is not None
        port = int(await upstream.stdout.readline())
        proxies: list[Contestant] = []
        missing: dict[str, str] = {}
        for name in given.only:
            try:
                proxy = await stack.enter_async_context(open_contestant(name, port, folder / name, given.litellm))
                await asyncio.to_thread(check, proxy)
            except Missing as reason:
                missing[name] = str(reason)
                _say(f"{name} is left out: {reason}")
                continue
            proxies.append(proxy)
        direct = {each.dialect: Contestant(f"direct ({each.dialect})", port, each.dialect) for each in proxies}
        everybody = [*direct.values(), *proxies]
        for each in everybody:
            await bench.unary(each, min(given.rates), _WARM_UP)
            await bench.streams(each, 1, _WARM_UP)
        names = [each.name for each in everybody]
        figures = _Figures(
            {rate: {name: [] for name in names} for rate in given.rates},
            {streams: {name: [] for name in names} for streams in given.streams},
            {each.name: direct[each.dialect].name for each in proxies},
            missing,
        )
        # Hundreds of streams leave traces, so the largest number comes last.
        kinds = [*((_unary, rate) for rate in given.rates), *((_streams, streams) for streams in sorted(given.streams))]
        for take, size in kinds:
            for turn in range(given.rounds):
                for each in in_turn(everybody, turn):
                    said = await take(bench, each, size, given.seconds, figures)
                    _say(f"round {turn + 1}  {each.name:15}  {said}")
        return figures


async def _unary(bench: _Bench, each: Contestant, rate: int, seconds: float, figures: _Figures) -> str:
    run = await bench.unary(each, rate, seconds)
    figures.unary[rate][each.name].append(run)
    return (
        f"{rate:4} requests/s  p50 {run.p50:8.3f} ms  p99 {run.p99:8.3f} ms  CPU {run.processor:6.3f} s/1000  "
        f"late {run.late:.2f} ms  errors {run.errors}  lost {run.lost}"
    )


async def _streams(bench: _Bench, each: Contestant, streams: int, seconds: float, figures: _Figures) -> str:
    run = await bench.streams(each, streams, seconds)
    figures.streams[streams][each.name].append(run)
    return (
        f"{streams:4} streams  {run.rate:9.0f} lines/s  CPU {run.processor or 0:7.3f} s/100,000  "
        f"peak {run.peak / 2**20:6.1f} MiB  begun {run.begun}  errors {run.errors}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _numbers(most: int) -> Any:
    def numbers(text: str) -> list[int]:
        return [min(most, max(1, int(part))) for part in text.split(",")]

    return numbers


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-proxy", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 51), metavar="1..50")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each turn (default: %(default)s)")
    parser.add_argument("--rates", type=_numbers(5000), default=[20, 100, 300], help="(default: 20,100,300)")
    parser.add_argument("--streams", type=_numbers(2000), default=[1, 50, 500], help="(default: 1,50,500)")
    parser.add_argument("--connections", type=int, default=32, help="of unary requests (default: 32)")
    parser.add_argument("--lines", type=int, default=10_000, help="of a stream, which then begins anew")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(NAMES), help=",".join(NAMES))
    parser.add_argument("--litellm", type=Path, default=Path(".venv/litellm/bin/litellm"), help="its program")
    parser.add_argument("--json", type=Path, help="write the figures, those of each round as well, here")
    given = parser.parse_args()
    if unknown := set(given.only) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))} (there are: {', '.join(NAMES)})")
    given.seconds = min(max(given.seconds, 0.5), 60.0)
    given.lines = min(max(given.lines, 10), 1_000_000)
    return given


def main() -> int:
    given = _parse()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_measure(given, Path(folder)))
    if not figures.base_of:
        return 1
    latency = latency_rows(figures.unary, figures.base_of)
    streams = stream_rows(figures.streams, figures.base_of)
    memory = memory_rows(figures.streams, figures.base_of)
    for columns, rows in ((_LATENCY, latency), (_STREAMED, streams), (_MEMORY, memory)):
        print_table(columns, rows)
    if given.json:
        facts = {
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "rounds": given.rounds,
            "seconds": given.seconds,
            "connections": given.connections,
        }
        rows = {"missing": figures.missing, "latency": latency, "streams": streams, "memory": memory}
        raw = {"unary": figures.unary, "streams": figures.streams}
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode({**facts, **rows, "runs": raw}), indent=2))
    own = [row for row in (*latency, *streams) if row["contestant"] == "remuda"]
    return int("remuda" in figures.missing or any(row["errors"] or row.get("lost") for row in own))


if __name__ == "__main__":
    raise SystemExit(main())
