"""What the prefix cache on disk saves: a prefix of 2,000 tokens, computed, and restored after a restart.

In each round a server with an empty folder meets the prefix, ends, and another one meets it again with another
question. Both have answered another prompt before, so that the time to load the model is not counted.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from ..bench import Bench, Scenario, say
from ..client import Reply, ask
from ..contestants import open_remuda
from ..prompts import fresh_prompts, shared_prompts
from ..table import Row

__all__ = ["SCENARIO"]

_PREFIX, _CONTEXT, _TOKENS, _PARALLEL = 2000, 4096, 8, 4
_NAME = "Remuda, restarted"


async def _measure(bench: Bench) -> list[Row]:
    folder = bench.folder / "restart-prefixes"
    cold: list[float] = []
    restored: list[float] = []
    cached = stored = 0
    for turn in bench.turns():
        shutil.rmtree(folder, ignore_errors=True)
        first, _ = await _first_token(bench, folder, turn, 0)
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        again, reply = await _first_token(bench, folder, turn, 1)
        cached = reply.cached_tokens
        cold.append(first * 1000)
        restored.append(again * 1000)
        say(f"round {turn + 1}  computed {cold[-1]:.1f} ms  restored {restored[-1]:.1f} ms  ({cached} tokens cached)")
    times = statistics.median(first / again for first, again in zip(cold, restored, strict=True))
    return [
        {
            "prefix_tokens": _PREFIX,
            "computed_ms": round(statistics.median(cold), 1),
            "restored_ms": round(statistics.median(restored), 1),
            "times_sooner": round(times, 1),
            "cached_tokens": cached,
            "stored_mib": round(stored / 2**20, 1),
        }
    ]


async def _first_token(bench: Bench, folder: Path, turn: int, number: int) -> tuple[float, Reply]:
    """Seconds until the first token, of a server that has just been started."""
    async with open_remuda(bench, _NAME, _PARALLEL, _CONTEXT, {"prefix_folder": str(folder)}) as served:
        await ask(served.target, fresh_prompts(1, 20, 900 + turn * 2 + number)[0], _TOKENS)
        [prompt] = shared_prompts(1, _PREFIX, turn + 1, round=number)
        began, reply = await ask(served.target, prompt, _TOKENS)
        return reply.arrivals[0] - began, reply


SCENARIO = Scenario(
    "restart",
    "A prefix of 2,000 tokens: the time to the first token when it is computed, and when it comes from disk after the"
    " server was restarted (with the model loaded, and another question after the prefix).",
    {
        "prefix_tokens": "prefix, tokens",
        "computed_ms": "computed, ms",
        "restored_ms": "restored, ms",
        "times_sooner": "times sooner",
        "stored_mib": "on disk, MiB",
    },
    _measure,
)
