"""The bare loop and a real server on loopback, as child processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .children import ended
from .measure import Run

__all__ = ["Bare", "Server"]

_START_SECONDS = 60
_RUN_SECONDS = 300
_STOP_SECONDS = 60
"""It finishes what it has begun."""


class Bare:
    """`benchmarks.bare` at the other end of two pipes; `apart` gives each sequence a cache of its own."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process, self.name = process, name

    @classmethod
    async def start(
        cls, model: str, streams: int, context: int, threads: int, *, apart: bool = False, name: str = "bare loop"
    ) -> Bare:
        arguments = [model, "--streams", str(streams), "--context", str(context), "--threads", str(threads)]
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "benchmarks.bare", *arguments, *(["--apart"] if apart else [])]
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24), name)

    async def run(self, prompts: list[str], tokens: int) -> Run:
        arrivals = (await self._ask(prompts, tokens))["arrivals"]
        return Run(len(prompts), tokens * len(prompts), max(times[-1] for times in arrivals), arrivals)

    async def goes_on(self, prompts: list[str], tokens: int) -> list[bool]:
        """For each prompt whether no end-of-text comes among its first tokens."""
        return (await self._ask(prompts, tokens))["goes_on"]

    async def _ask(self, prompts: list[str], tokens: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}).encode() + b"\n")
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), _RUN_SECONDS))

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Server:
    """`remuda serve` on a free port."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, drain: asyncio.Task[None]) -> None:
        self._process, self.url, self._drain = process, url, drain
        self.port = int(url.rpartition(":")[2])

    @classmethod
    async def start(
        cls, parallel: int, config: str = "", *, path: str = "", on_line: Callable[[str], None] = lambda line: None
    ) -> Server:
        """`config` is the path of a configuration file, `path` a folder to import from; `on_line` is told the log."""
        environment = {**os.environ, "OLLAMA_NUM_PARALLEL": str(parallel)}
        if config:
            environment["REMUDA_CONFIG"] = config
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "remuda", "serve", "--host", "127.0.0.1", "--port", "0"),
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        stream = process.stderr
        assert stream is not None
        async with asyncio.timeout(_START_SECONDS):
            while line := await stream.readline():
                if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
                    return cls(process, found[0].decode(), asyncio.create_task(_drain(stream, on_line)))
        raise RuntimeError("the server did not start")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        await ended(self._process, _STOP_SECONDS)
        await self._drain


async def _drain(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    while line := await stream.readline():
        on_line(line.decode("utf-8", "replace").rstrip())
