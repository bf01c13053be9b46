"""What other programs on the same cores cost: four streams beside some, and beside none.

Compute threads wait for each other many times in each step, so that one which has to wait for its core holds up all.
Remuda chooses its threads while it runs; what the choosing costs on an idle machine is seen against servers whose
number of threads is fixed (`num_thread`), of which the faster counts. Where Remuda may go before its neighbours, it is
also measured as one of them, as it is where it may not; and llama-server is measured with priority, too.
"""

from __future__ import annotations

import os
import statistics
from contextlib import AsyncExitStack
from functools import partial

from ..bench import Bench, Scenario, one_turn, say
from ..contestants import GREEDY, kindest, open_bare, open_llama_server, open_remuda
from ..measure import Run, in_turn, median_ratio, summary
from ..neighbours import neighbours
from ..prompts import Candidates
from ..table import Row

__all__ = ["SCENARIO"]

_CONTEXT, _STREAMS = 1024, 4
_REMUDA, _PEER = "Remuda", "llama-server"
_FAST, _EQUAL, _PEER_FIRST = "Remuda, fast weights", "Remuda, niceness 0", "llama-server, --prio 2"
_NICE = -10
"""What Remuda gives the processes of its models where it may."""
_NOBODY = "nobody"
_SITUATIONS: dict[str, tuple[float, ...]] = {
    _NOBODY: (),
    "one at 10 %": (0.1,),
    "one at 50 %": (0.5,),
    "one at 100 %": (1.0,),
    "two at 50 %": (0.5, 0.5),
    "two at 100 %": (1.0, 1.0),
}

_Runs = dict[str, dict[str, list[Run]]]


async def _measure(bench: Bench) -> list[Row]:
    fixed = sorted({1, bench.threads})
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(open_bare(bench, _STREAMS, _CONTEXT, "bare loop", apart=True))
        opening = [
            open_remuda(bench, _REMUDA, _STREAMS, _CONTEXT),
            open_remuda(bench, _FAST, _STREAMS, _CONTEXT, {"weights": "fast"}),
        ]
        if first := _may_go_first():
            opening.append(open_remuda(bench, _EQUAL, _STREAMS, _CONTEXT, nice=0))
        if bench.llama_server:
            arguments = (*kindest(bench, _STREAMS, _CONTEXT), "--no-kv-unified")
            opening.append(open_llama_server(bench, _PEER, *arguments, extra=GREEDY))
            if first:
                opening.append(open_llama_server(bench, _PEER_FIRST, *arguments, "--prio", "2", extra=GREEDY))
        disturbed = [await stack.enter_async_context(each) for each in opening]
        opening = [
            open_remuda(bench, _fixed(count), _STREAMS, _CONTEXT, options={"num_thread": count}) for count in fixed
        ]
        undisturbed = [*disturbed, *[await stack.enter_async_context(each) for each in opening]]
        candidates = Candidates(bare, bench.words, bench.tokens, _STREAMS)
        take = partial(candidates.take, _STREAMS)
        await one_turn(undisturbed, 0, take, bench.tokens)  # makes all of them ready
        runs: _Runs = {situation: {} for situation in _SITUATIONS}
        for turn in bench.turns():
            for situation in in_turn(list(_SITUATIONS), turn):
                await candidates.fill(_STREAMS)  # before there are neighbours
                everybody = disturbed if _SITUATIONS[situation] else undisturbed
                say(f"round {turn + 1}  beside {situation}")
                async with neighbours(_SITUATIONS[situation]):
                    by_name = await one_turn(everybody, turn, take, bench.tokens)
                for name, run in by_name.items():
                    runs[situation].setdefault(name, []).append(run)
    return _rows(runs, [_fixed(count) for count in fixed])


def _may_go_first() -> bool:
    """Whether this user may ask for priority."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, own + _NICE)
    except PermissionError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, own)
    return True


def _fixed(threads: int) -> str:
    return f"Remuda, num_thread {threads}"


def _rows(runs: _Runs, fixed: list[str]) -> list[Row]:
    rows: list[Row] = []
    alone = runs[_NOBODY]
    best = max(fixed, key=lambda name: statistics.median(run.rate for run in alone[name]))
    for situation, by_name in runs.items():
        for name, rounds in by_name.items():
            row: Row = {"neighbours": situation, "who": name, **summary(rounds)}
            if situation != _NOBODY:
                row["of_undisturbed"] = round(median_ratio(rounds, alone[name]), 2)
            elif name == _REMUDA:
                row["of_best_fixed"] = round(median_ratio(rounds, alone[best]), 3)
            if name in {_REMUDA, _FAST, _EQUAL} and _PEER in by_name:
                row["times_peer"] = round(median_ratio(rounds, by_name[_PEER]), 2)
            rows.append(row)
    return rows


SCENARIO = Scenario(
    "neighbour",
    "Four such streams beside programs that keep a share of a core busy. Remuda chooses its compute threads while it"
    " runs; llama-server has as many as there are cores. Where the system allows it, as it did here, Remuda and the"
    ' processes of its models have a niceness of -10; "niceness 0" is what is left where it does not'
    " (`residency.runner_nice`). llama-server's `--prio 2` makes its compute threads real-time ones. Undisturbed,"
    " Remuda is also measured with a fixed number of threads, to see what the choosing costs.",
    {
        "neighbours": "neighbours",
        "who": "",
        "tokens_per_second": "tokens/s",
        "of_undisturbed": "of undisturbed",
        "times_peer": "times llama-server",
        "of_best_fixed": "of the best fixed number",
        "ttft_p50_ms": "TTFT p50 ms",
        "gap_p99_ms": "gap p99 ms",
    },
    _measure,
)
