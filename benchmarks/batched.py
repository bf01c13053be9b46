"""llama.cpp's own `llama-batched-bench`, for reference: it decodes random tokens, samples nothing, serves nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from .bench import Bench
from .children import Missing, ended

__all__ = ["batched_rates"]

_SECONDS = 600


async def batched_rates(bench: Bench, prompt: int, context: int) -> dict[int, float]:
    """Generated tokens a second, the reading of prompts of `prompt` tokens included, by number of streams. One run.

    Raises `Missing` if it says nothing that can be read.
    """
    assert bench.batched_bench is not None
    command = [bench.batched_bench, "-m", bench.weights, "-c", str(max(bench.streams) * context), "-b", "2048"]
    command += ["-ub", "512", "-fa", "on", "-t", str(bench.threads), "-npp", str(prompt), "-ntg", str(bench.tokens)]
    command += ["-npl", ",".join(map(str, bench.streams)), "--output-format", "jsonl"]
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=pipe, stderr=null)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
    finally:
        if process.returncode is None:
            await ended(process)
    rows: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    if not rows:
        raise Missing(f"{bench.batched_bench} gave no figures (exit status {process.returncode})")
    return {row["pl"]: row["pl"] * row["tg"] / row["t"] for row in rows}
