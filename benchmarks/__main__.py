"""`make bench`: Remuda against its ceiling and its peers, one question after another.

    make bench BENCH_ARGS="--only streams,neighbour --rounds 5 --json benchmarks/figures.json"
    make bench LLAMA_SERVER=path/to/llama-server BATCHED_BENCH=path/to/llama-batched-bench

Each scenario compares several contestants with the same model, prompts, threads and client, one after another in every
round, in an order that changes. LLAMA_SERVER and BATCHED_BENCH, variables of make or of the environment, name programs
of llama.cpp to measure as well. A scenario's figures are written as soon as there are all; those of others stay in the
file. `python -m benchmarks.report FILE` makes the README's section of them.
Bounded by rounds, minutes, streams and tokens; talks to loopback only; leaves no process behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from remuda.plugins import load_plugins

from .bench import Bench, Scenario, say
from .children import Missing
from .scenarios import SCENARIOS
from .table import print_table


async def _run(bench: Bench, scenarios: list[Scenario], file: Path | None) -> bool:
    """Whether every scenario could be measured."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # or the servers would outlive this
    good = True
    for scenario in scenarios:
        say(f"--- {scenario.name}")
        try:
            rows = await scenario.measure(bench)
        except (Missing, RuntimeError, TimeoutError, ConnectionError) as error:
            say(f"{scenario.name} could not be measured: {error!r}")
            good = False
            continue
        figures = {**_facts(bench), "rows": rows}
        print(f"{scenario.about.format(**figures)}\n")
        print_table(scenario.columns, rows)
        if file:
            _write(file, scenario.name, figures)
    return good


def _facts(bench: Bench) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "llama_cpp_python": version("llama-cpp-python"),
        "model": bench.model,
        "rounds": bench.begun,
        "threads": bench.threads,
        "prompt": round(bench.words * 1.1, -1),
        "tokens": bench.tokens,
    }


def _write(file: Path, name: str, figures: dict[str, Any]) -> None:
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, name: figures}, indent=2) + "\n")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(min(64, max(1, int(part))) for part in text.split(","))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SCENARIOS), help=",".join(SCENARIOS))
    parser.add_argument("--model", default="smollm2:135m", help="an installed model (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 51), metavar="1..50")
    parser.add_argument("--minutes", type=float, default=20, help="no further round of a scenario begins after these")
    parser.add_argument("--streams", type=_numbers, default=(1, 4, 8, 16), help="(default: 1,4,8,16)")
    parser.add_argument("--words", type=int, default=118, help="of a prompt; about 130 tokens (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate (default: %(default)s)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of all but Remuda (default: the cores available)")
    parser.add_argument("--llama-server", default=os.environ.get("LLAMA_SERVER"), metavar="PATH")
    parser.add_argument("--batched-bench", default=os.environ.get("BATCHED_BENCH"), metavar="PATH")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args()
    if unknown := set(given.only) - set(SCENARIOS):
        parser.error(f"there is no {', '.join(sorted(unknown))} (there are: {', '.join(SCENARIOS)})")
    for program in filter(None, (given.llama_server, given.batched_bench)):
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is not a program")
    given.minutes = min(max(given.minutes, 0.0), 120.0)
    given.words, given.tokens = (min(max(size, 2), 450) for size in (given.words, given.tokens))
    return given


def main() -> int:
    given = _parse()
    models = {str(entry.name): entry for entry in load_plugins().models.values()}
    if given.model not in models:
        say(f"no model {given.model!r} is installed (there are: {', '.join(models) or 'none'})")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            model=given.model,
            weights=str(models[given.model].weights),
            rounds=given.rounds,
            minutes=given.minutes,
            streams=given.streams,
            words=given.words,
            tokens=given.tokens,
            threads=given.threads,
            folder=Path(folder),
            llama_server=given.llama_server or None,
            batched_bench=given.batched_bench or None,
        )
        good = asyncio.run(_run(bench, [SCENARIOS[name] for name in SCENARIOS if name in given.only], given.json))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
