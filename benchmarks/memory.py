"""`python -m benchmarks.memory [WEIGHTS ...]`: estimates of what models hold in memory, against what they hold.

    make bench BENCH=memory BENCH_ARGS="all-MiniLM-L6-v2-f16.gguf --contexts 512,4096"

The demo model, models of zeros in several precisions, and those of WEIGHTS (GGUF files), each in a runner of its own,
loaded as the server does it, with each context and each number of sequences. Measured are the pages in memory after
every sequence has written some tokens, files included. Linux only. Bounded by models, contexts and seconds; the files
it makes, in a temporary folder, take 700 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from itertools import product
from pathlib import Path
from typing import Any

from remuda.backend import EmbedJob, GenerateJob, LoadWish
from remuda.model import ModelEntry, parse_name
from remuda.plugins import load_plugins
from remuda.runner import RunnerModel
from remuda.wire import Options
from remuda_llamacpp.backend import LlamaCppBackend
from remuda_llamacpp.memory.anatomy import read_anatomy

from .synthetic import write_llama

_DEMO = "smollm2:135m"
_KINDS = {"F16": ("F16", ""), "Q8_0": ("Q8_0", ""), "Q4_0": ("Q4_0", ""), "Q4_K": ("Q4_K", "Q6_K")}
_MIB = 2**20
_WORDS = 170
"""More tokens than the largest decode takes."""


def _models(folder: Path, weights: list[Path]) -> Iterator[tuple[str, Path]]:
    demo = next((entry.weights for entry in load_plugins().models.values() if str(entry.name) == _DEMO), None)
    if demo is not None:
        yield _DEMO, demo
    for path in weights:
        yield path.stem, path.absolute()
    for name, (kind, output) in _KINDS.items():
        path = write_llama(folder / f"{name}.gguf", kind, output)
        yield f"zeros {name}", path


async def _measure(path: Path, context: int, parallel: int) -> dict[str, Any]:
    backend, entry = LlamaCppBackend(), ModelEntry(name=parse_name("model"), weights=path)
    wish = LoadWish(context=context, parallel=parallel)
    expected = await backend.estimate(entry, wish)
    loaded = await backend.load(entry, wish)
    try:
        if loaded.embeds:
            await loaded.embed(EmbedJob(inputs=["a horse in a stable " * loaded.context], limit=loaded.context))
        else:
            await asyncio.gather(*(_write(loaded, 4 if other else _WORDS) for other in range(parallel)))
        held = _status(loaded.pid or 0)
        return {
            "context": loaded.context,
            "parallel": parallel,
            "expected": expected.memory,
            "measured": held["VmRSS"],
            "peak": held["VmHWM"],
        }
    finally:
        await loaded.close()


async def _write(model: RunnerModel, words: int) -> None:
    options = Options(temperature=0.0, num_predict=4)
    job = GenerateJob(prompt="word1 " * words, limit=model.context, options=options)
    async with aclosing(model.generate(job)) as events:
        async for _ in events:
            pass


def _status(pid: int) -> dict[str, int]:
    """Sizes of a process in bytes, by the kernel's names."""
    rows = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if row[-1] == "kB"}


async def _run(given: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + given.seconds
    print("| model | context | sequences | estimate MiB | measured MiB | estimate / measured | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _models(Path(folder), given.weights):
            anatomy = read_anatomy(path)
            trained = (anatomy.trained if anatomy else 0) or max(given.contexts)
            for context, parallel in product(sorted({min(each, trained) for each in given.contexts}), given.parallel):
                if time.monotonic() > until:
                    return rows
                rows.append({"model": name, **await _measure(path, context, parallel)})
                _print(rows[-1])
    return rows


def _print(row: dict[str, Any]) -> None:
    sizes = [f"{row[key] / _MIB:.0f}" for key in ("expected", "measured", "peak")]
    ratio = f"{row['expected'] / row['measured']:.3f}"
    cells = [row["model"], row["context"], row["parallel"], sizes[0], sizes[1], ratio, sizes[2]]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("weights", type=Path, nargs="*")
    parser.add_argument("--contexts", type=_numbers, default=[512, 4096, 16_384])
    parser.add_argument("--parallel", type=_numbers, default=[1, 4])
    parser.add_argument("--seconds", type=float, default=170, help="no further load begins after these")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args()
    rows = asyncio.run(_run(given))
    worst = max((abs(row["expected"] / row["measured"] - 1) for row in rows), default=0.0)
    print(f"\nthe worst of {len(rows)} estimates is {worst:.1%} off")
    if given.json:
        given.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
