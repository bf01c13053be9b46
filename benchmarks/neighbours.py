"""Programs that have something to do on the same cores: `python -m benchmarks.neighbours SHARE` takes that share of one
core, in pieces of ten milliseconds, until its parent is gone."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from .children import ended

__all__ = ["neighbours"]

_PERIOD = 0.01
"""Seconds."""


@asynccontextmanager
async def neighbours(shares: Sequence[float]) -> AsyncGenerator[None, None]:
    """Beside one busy process for each share (0 to 1) of a core. All of them are at work when this begins."""
    async with AsyncExitStack() as stack:
        for share in shares:
            command = [sys.executable, "-m", "benchmarks.neighbours", str(share)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            stack.push_async_callback(ended, process)
            assert process.stdout is not None
            await process.stdout.readline()
        yield


def main() -> None:
    share, parent = float(sys.argv[1]), os.getppid()
    print("busy", flush=True)
    while os.getppid() == parent:
        # Processor time, not time: a program that is held up has as much left to do.
        began, until = time.perf_counter(), time.thread_time() + share * _PERIOD
        while time.thread_time() < until:
            pass
        rest = began + _PERIOD - time.perf_counter()
        if rest > 0 and share < 1:
            time.sleep(rest)


if __name__ == "__main__":
    main()
