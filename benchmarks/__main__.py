"""`make bench`: the server over HTTP against the bare loop, and text under a JSON Schema against free text, each pair
interleaved in one run.

    make bench BENCH_ARGS="--rounds 5 --streams 1,4,8 --json figures.json"

All read the same fresh prompts and decode the same number of tokens greedily. Bounded by rounds, streams and tokens;
talks to loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from remuda.plugins import load_plugins

from .client import run_streams
from .measure import Run, summary
from .processes import Bare, Server
from .prompts import fresh_prompts

_CONTEXT = 1024
_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "role": {"enum": ["reader", "writer", "owner"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "role", "tags"],
    "additionalProperties": False,
}
_SCHEMA = {"type": "array", "items": _PERSON, "minItems": 8}
"""A document that does not end before the tokens do."""


class _Candidates:
    """Fresh prompts whose greedy continuation does not end early, found with the bare loop outside the measurement."""

    def __init__(self, bare: Bare, words: int, tokens: int) -> None:
        self._bare, self._words, self._tokens, self._seed = bare, words, tokens, 0
        self._ready: list[str] = []

    async def take(self, count: int) -> list[str]:
        while len(self._ready) < count:
            self._seed += 1
            prompts = fresh_prompts(count, self._words, self._seed)
            _, goes_on = await self._bare.run(prompts, self._tokens)
            self._ready += [prompt for prompt, good in zip(prompts, goes_on, strict=True) if good]
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken


Runs = dict[int, dict[str, list[Run]]]


async def _measure(arguments: argparse.Namespace, weights: str) -> tuple[Runs, Runs]:
    """Runs by streams and contestant: server against bare loop, and text under the schema against free text."""
    streams: list[int] = arguments.streams
    threads = arguments.threads or len(os.sched_getaffinity(0))
    bare = await Bare.start(weights, max(streams), _CONTEXT, threads)
    server = await Server.start(max(streams))
    try:
        candidates = _Candidates(bare, arguments.words, arguments.tokens)
        for form in (None, _SCHEMA):  # the first of each kind makes things ready
            prompts = await candidates.take(max(streams))
            await run_streams(server.url, arguments.model, prompts, arguments.tokens, form)
        runs: Runs = {count: {"bare": [], "server": []} for count in streams}
        schema: Runs = {count: {"free": [], "schema": []} for count in streams}
        for turn in range(arguments.rounds):
            for count in streams:
                prompts = await candidates.take(count)
                # Whoever goes second finds the machine warmer: take turns.
                for who in ("bare", "server") if turn % 2 else ("server", "bare"):
                    if who == "bare":
                        run, _ = await bare.run(prompts, arguments.tokens)
                    else:
                        run = await run_streams(server.url, arguments.model, prompts, arguments.tokens)
                    runs[count][who].append(run)
                    _say(f"round {turn + 1}  {count:2} streams  {who:6}  {run.rate:7.1f} tokens/s")
                for who in ("free", "schema") if turn % 2 else ("schema", "free"):
                    form = _SCHEMA if who == "schema" else None
                    run = await run_streams(server.url, arguments.model, prompts, arguments.tokens, form)
                    schema[count][who].append(run)
                    _say(f"round {turn + 1}  {count:2} streams  {who:6}  {run.rate:7.1f} tokens/s")
        return runs, schema
    finally:
        await server.stop()
        await bare.stop()


def _report(runs: Runs, one: str, other: str) -> list[dict[str, Any]]:
    """A row for each number of streams; `ratio` is the median of `other`'s rate to `one`'s, round by round."""
    rows: list[dict[str, Any]] = []
    for count, both in runs.items():
        ratios = [b.rate / a.rate for a, b in zip(both[one], both[other], strict=True)]
        row = {"streams": count, "ratio": round(statistics.median(ratios), 3)}
        rows.append({**row, one: summary(both[one]), other: summary(both[other])})
    return rows


def _print(rows: list[dict[str, Any]], schema: list[dict[str, Any]]) -> None:
    print(
        "| streams | bare loop tok/s | server tok/s | server / bare | TTFT p50 ms (bare) | TTFT p50 ms | TTFT p95 ms |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        bare, server = row["bare"], row["server"]
        cells = [row["streams"], bare["tokens_per_second"], server["tokens_per_second"], f"{row['ratio']:.3f}"]
        cells += [bare["ttft_p50_ms"], server["ttft_p50_ms"], server["ttft_p95_ms"]]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    print("\n| streams | free text tok/s | under a JSON Schema tok/s | schema / free |")
    print("|---|---|---|---|")
    for row in schema:
        cells = [row["streams"], row["free"]["tokens_per_second"], row["schema"]["tokens_per_second"]]
        print("| " + " | ".join(str(cell) for cell in [*cells, f"{row['ratio']:.3f}"]) + " |")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2:135m", help="an installed model (default: %(default)s)")
    parser.add_argument("--streams", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--words", type=int, default=110, help="words of a prompt; about 130 tokens (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of the bare loop (default: the cores available)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser.parse_args()


def main() -> int:
    arguments = _parse()
    models = {str(entry.name): entry for entry in load_plugins().models.values()}
    if arguments.model not in models:
        _say(f"no model {arguments.model!r} is installed (there are: {', '.join(models) or 'none'})")
        return 1
    runs, under = asyncio.run(_measure(arguments, str(models[arguments.model].weights)))
    rows, schema = _report(runs, "bare", "server"), _report(under, "free", "schema")
    _print(rows, schema)
    if arguments.json:
        facts = {
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        }
        arguments.json.write_text(
            json.dumps({"model": arguments.model, **facts, "rows": rows, "schema": schema}, indent=2) + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
