"""What reuse saves: clients whose prompts begin with the same thousand tokens, as those of one application do.

Each round has a text of its own. Eight clients come with it at once when nobody has met it before, and then eight
others with other questions.
"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack

from ..bench import Bench, Scenario, say
from ..client import ask, run_streams
from ..contestants import ALONE, Served, kindest, open_llama_server, open_remuda
from ..measure import Run, in_turn, summary
from ..prompts import shared_prompts
from ..table import Row

__all__ = ["SCENARIO"]

_CLIENTS, _PREFIX, _CONTEXT, _TOKENS = 8, 1000, 2048, 16
_REMUDA, _WITHOUT, _PEER = "Remuda", "Remuda, no reuse", "llama-server"
_VISITS = ("for the first time", "again")

_Runs = dict[str, dict[str, list[Run]]]


async def _measure(bench: Bench) -> list[Row]:
    async with AsyncExitStack() as stack:
        opening = [
            open_remuda(bench, _REMUDA, _CLIENTS, _CONTEXT),
            open_remuda(bench, _WITHOUT, _CLIENTS, _CONTEXT, ALONE),
        ]
        if bench.llama_server:
            # All that it has for reuse is left as it comes.
            opening.append(open_llama_server(bench, _PEER, *kindest(bench, _CLIENTS, _CONTEXT), "--cache-ram", "8192"))
        everybody: list[Served] = [await stack.enter_async_context(each) for each in opening]
        for each in everybody:
            await ask(each.target, shared_prompts(1, _PREFIX, 0)[0], _TOKENS)
        runs: _Runs = {visit: {each.name: [] for each in everybody} for visit in _VISITS}
        for turn in bench.turns():
            for each in in_turn(everybody, turn):
                for number, visit in enumerate(_VISITS):
                    prompts = shared_prompts(_CLIENTS, _PREFIX, turn + 1, round=number)
                    run = await run_streams(each.target, prompts, _TOKENS, exact=False)
                    runs[visit][each.name].append(run)
                    first = statistics.median(run.first) * 1000
                    say(f"round {turn + 1}  {visit:18}  {each.name:18} TTFT p50 {first:8.1f} ms")
    return [row for visit, by_name in runs.items() for row in _rows(visit, by_name)]


def _rows(visit: str, by_name: dict[str, list[Run]]) -> list[Row]:
    rows: list[Row] = []
    for name, rounds in by_name.items():
        pairs = zip(by_name[_WITHOUT], rounds, strict=True)
        times = statistics.median(statistics.median(other.first) / statistics.median(run.first) for other, run in pairs)
        row: Row = {"met": visit, "who": name, **summary(rounds)}
        rows.append(row if name == _WITHOUT else {**row, "times_sooner": round(times, 1)})
    return rows


SCENARIO = Scenario(
    "prefix",
    "Eight clients at once whose prompts share a system prompt of 1,000 tokens, each with a short question of its own:"
    " when the server meets the system prompt for the first time, and with other questions afterwards.",
    {
        "met": "the system prompt is met",
        "who": "",
        "ttft_p50_ms": "TTFT p50 ms",
        "ttft_p95_ms": "TTFT p95 ms",
        "times_sooner": "times sooner than without reuse",
    },
    _measure,
)
