"""Who is compared: the bare loop, Remuda with some of its settings, llama-server with some of its own.

Each is a process on loopback with nothing to do between its turns. What needs other settings is another contestant.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, TypeAlias

from .bench import Bench
from .children import Missing, free_port, serving
from .client import Target, run_streams
from .measure import Run
from .processes import Bare, Server

__all__ = ["ALONE", "GREEDY", "Served", "Settings", "kindest", "open_bare", "open_llama_server", "open_remuda"]

Settings: TypeAlias = Mapping[str, bool | str]

ALONE: Settings = {"prefix_reuse": False, "prefix_disk": False, "draft": False}
"""Every token is computed: for comparison with those that can do nothing else."""

GREEDY: dict[str, Any] = {"samplers": ["top_k"], "top_k": 1, "cache_prompt": False}
"""The shortest way to the likeliest token, and no search for prompts that it has met before."""

_READY_SECONDS = 60


class Served:
    """A server that answers over HTTP."""

    def __init__(self, name: str, target: Target, server: Server | None = None) -> None:
        self.name, self.target, self.server = name, target, server

    async def run(self, prompts: list[str], tokens: int) -> Run:
        return await run_streams(self.target, prompts, tokens)


@asynccontextmanager
async def open_bare(bench: Bench, streams: int, context: int, name: str, *, apart: bool) -> AsyncGenerator[Bare, None]:
    bare = await Bare.start(bench.weights, streams, context, bench.threads, apart=apart, name=name)
    try:
        yield bare
    finally:
        await bare.stop()


@asynccontextmanager
async def open_remuda(
    bench: Bench,
    name: str,
    parallel: int,
    context: int,
    settings: Settings = {},  # noqa: B006 - a Mapping
    options: dict[str, Any] | None = None,
    nice: int | None = None,
) -> AsyncGenerator[Served, None]:
    """With `settings` of its engine, `options` in every request and its model's niceness, if not the usual one.

    It keeps its files in a folder of its own, so that the same name finds them again. The model is loaded by the first
    request.
    """
    folder = bench.folder / re.sub(r"\W+", "-", name)
    folder.mkdir(exist_ok=True)
    config = folder / "remuda.toml"
    table = {"prefix_folder": str(folder / "prefixes"), **settings}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    # Models stay, and texts that repeat themselves go on as they do with the others.
    limits, residency = '[limits]\nkeep_alive = "24h"\nrepeat = 0', f"runner_nice = {nice}" if nice is not None else ""
    config.write_text(f"{limits}\n\n[residency]\n{residency}\n\n[backends.llamacpp]\n{lines}")
    server = await Server.start(parallel, str(config))
    try:
        target = Target(server.port, "ollama", bench.model, context, options or {})
        yield Served(name, target, server)
    finally:
        await server.stop()


@asynccontextmanager
async def open_llama_server(
    bench: Bench, name: str, *arguments: str, extra: dict[str, Any] | None = None
) -> AsyncGenerator[Served, None]:
    """With `arguments` besides the model and the port, and `extra` fields in every request. Raises `Missing` if it does
    not start."""
    assert bench.llama_server is not None
    port, folder = free_port(), bench.folder / re.sub(r"\W+", "-", name)
    folder.mkdir(exist_ok=True)
    command = [bench.llama_server, "-m", bench.weights, "--host", "127.0.0.1", "--port", str(port), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_ARG_")}
    async with serving(command, port, folder / "log", environment):
        await asyncio.to_thread(_wait_until_loaded, port)
        yield Served(name, Target(port, "llama.cpp", extra=extra or {}))


def kindest(bench: Bench, parallel: int, context: int) -> tuple[str, ...]:
    """Arguments with which llama-server does best: as many slots as there are streams, and no cache in RAM to fill
    between requests. Whether all slots share one cache (`--kv-unified`, `--no-kv-unified`) is for the caller to say.

    Without effect on SmolLM2 and two cores: other sizes of batches, weights that are not mapped, threads for HTTP.
    """
    slots = ("-np", str(parallel), "-c", str(parallel * context), "-t", str(bench.threads))
    return (*slots, "-fa", "on", "--cache-ram", "0", "--no-ui")


def _wait_until_loaded(port: int) -> None:
    """It listens before its model is loaded. Blocks."""
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise Missing("llama-server did not load the model")
