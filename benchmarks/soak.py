"""`make soak`: random load for half an hour, after which the server must hold no more than it did after warming up.

    make soak BENCH_ARGS="--minutes 30 --clients 8 --json soak.json"

Every answer is looked at: it must be whole. What the processes hold is looked at all the time; the first fifth counts
as warming up. Of the rest, the median of the last third may exceed that of the first third by the bounds below, no
child may be left and no cell of the cache may be held by a live sequence when all is over.
Bounded by minutes and requests; loopback only. The exit status is 1 unless all went well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct, to_builtins

from .processes import Server
from .soak_load import Outcome, client
from .soak_watch import Sample, Watch, engine_figures
from .table import Row, print_table

__all__ = ["Measure", "growth"]

_WARM_UP = 0.2
_PACE = 10.0
_LOOKS = 40
"""At least so many, however short the run."""
_IDLE_SECONDS = 15
_CONTEXT = 2048


class Measure(Struct, frozen=True):
    """One thing that may not grow."""

    name: str
    of: Callable[[Sample], float]
    most: float | None = None
    """By how much it may grow; None if it is only shown."""


_MEASURES = (
    Measure("server, resident MiB", lambda sample: sample.server.resident, 16),
    Measure("server, anonymous MiB", lambda sample: sample.server.anonymous),
    Measure("server, file descriptors", lambda sample: sample.server.files, 4),
    Measure("server, threads", lambda sample: sample.server.threads, 4),
    Measure("runner, resident MiB", lambda sample: sample.runners.resident, 32),
    Measure("runner, anonymous MiB", lambda sample: sample.runners.anonymous),
    Measure("runner, file descriptors", lambda sample: sample.runners.files, 4),
    Measure("runner, threads", lambda sample: sample.runners.threads, 2),
    Measure("runners", lambda sample: sample.children, 0),
)
_COLUMNS = {
    "what": "",
    "warm": "after warming up",
    "end": "at the end",
    "growth": "growth",
    "slope": "slope in ten minutes",
    "most": "allowed",
    "verdict": "",
}


def growth(samples: Sequence[Sample], measure: Measure) -> Row:
    """The medians of the first and the last third after warming up, and what lies between.

    Raises `ValueError` for fewer than six samples.
    """
    late = samples[int(len(samples) * _WARM_UP) :]
    if len(samples) < 6:
        raise ValueError(f"{len(samples)} samples are too few")
    values = [measure.of(sample) for sample in late]
    third = len(values) // 3
    warm, end = statistics.median(values[:third]), statistics.median(values[-third:])
    slope = statistics.linear_regression([sample.seconds for sample in late], values).slope * 600
    grown = measure.most is not None and end - warm > measure.most
    return {
        "what": measure.name,
        "warm": _short(warm),
        "end": _short(end),
        "growth": _short(end - warm),
        "slope": _short(slope),
        "most": measure.most,
        "verdict": "GROWS" if grown else "",
    }


def _short(value: float) -> float:
    """Four digits are enough."""
    return float(f"{value:.4g}")


async def _measure(given: argparse.Namespace, folder: Path) -> tuple[Outcome, list[Sample], Sample, list[str]]:
    """What came of the requests, what was held meanwhile and afterwards, and what the log complains of."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # or the server would outlive this
    config = folder / "remuda.toml"
    prefixes = json.dumps(str(folder / "prefixes"))
    config.write_text(f"[limits]\ncontext = {_CONTEXT}\n\n[backends.llamacpp]\nprefix_folder = {prefixes}\n")
    bad: list[str] = []
    server = await Server.start(given.parallel, str(config), on_line=lambda line: _complain(line, bad))
    limits = httpx.Limits(max_connections=given.clients + 4)
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=None, limits=limits) as http:
            seconds = given.minutes * 60
            watch = Watch(server.pid, http, min(_PACE, seconds / _LOOKS))
            until, most = time.monotonic() + seconds, -(-given.requests // given.clients)
            watching = asyncio.create_task(watch.run())
            try:
                seeds = range(given.seed * 1000, given.seed * 1000 + given.clients)
                work = (client(http, given.model, seed, until, most) for seed in seeds)
                outcome = Outcome()
                for each in await asyncio.gather(*work):
                    outcome.add(each)
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            await _until_idle(http)
            return outcome, watch.samples, await watch.look(), list(bad)
    finally:
        await server.stop()


def _complain(line: str, bad: list[str]) -> None:
    if any(level in line.partition(": ")[0].split() for level in ("WARNING", "ERROR", "CRITICAL")):
        bad.append(line)


async def _until_idle(http: httpx.AsyncClient) -> None:
    """Those who left a moment ago may still be in the engine."""
    until = time.monotonic() + _IDLE_SECONDS
    while time.monotonic() < until:
        figures = await engine_figures(http)
        if figures and not figures.get("cells_live"):
            return
        await asyncio.sleep(0.5)


def _print(given: argparse.Namespace, outcome: Outcome, samples: list[Sample], idle: Sample, bad: list[str]) -> bool:
    """The tables. Whether all is well."""
    figures = sorted({name for sample in samples for name in sample.engine})
    shown = [Measure(name, lambda sample, name=name: sample.engine.get(name, 0.0)) for name in figures]
    rows = [growth(samples, measure) for measure in (*_MEASURES, *shown)]
    live = idle.engine.get("cells_live", 0.0)
    counts: dict[str, Any] = {
        "minutes": round(samples[-1].seconds / 60, 1),
        "clients": given.clients,
        "answers, all of them whole": outcome.answered,
        "left midway": outcome.cancelled,
        "tokens": outcome.tokens,
        **{f"prompts: {kind}": count for kind, count in sorted(outcome.kinds.items())},
        "faults": len(outcome.faults),
        "complaints in the log": len(bad),
        "cells of live sequences when idle": live if idle.engine else "the server does not tell",
    }
    print_table({"name": f"{given.model}", "value": ""}, [{"name": name, "value": counts[name]} for name in counts])
    print_table(_COLUMNS, rows)
    for text in (*outcome.faults[:20], *bad[:20]):
        print(text, file=sys.stderr)
    if given.json:
        held = [to_builtins(sample) for sample in (*samples, idle)]
        given.json.write_text(json.dumps({"counts": counts, "growth": rows, "samples": held}, indent=2) + "\n")
    return bool(outcome.answered) and not (outcome.faults or bad or live or any(row["verdict"] for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="at most 240 (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, choices=range(1, 65), metavar="1..64")
    parser.add_argument("--parallel", type=int, default=4, help="requests side by side (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=200_000, help="at most (default: %(default)s)")
    parser.add_argument("--model", default="smollm2:135m", help="an installed model (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all samples here as well")
    given = parser.parse_args()
    given.minutes = min(max(given.minutes, 0.1), 240.0)
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(_measure(given, Path(folder)))
    return 0 if _print(given, *measured) else 1


if __name__ == "__main__":
    raise SystemExit(main())
