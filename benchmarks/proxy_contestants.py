"""The proxies that are compared, each in front of the scripted upstream, as child processes on loopback.

Each runs as it comes, one process of it that does the work, and writes its log, a line for each request, into a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeAlias

import psutil
from msgspec import Struct

from .children import Missing, free_port, serving
from .proxy_messages import MODEL, PATHS, Dialect, request

__all__ = ["NAMES", "Contestant", "Cost", "Missing", "check", "open_contestant", "open_helper"]

_STOP_SECONDS = 10


class Cost(Struct, frozen=True):
    """What a proxy has used up: processor seconds so far, and bytes in memory now."""

    processor: float
    memory: int


class Contestant(Struct, frozen=True):
    name: str
    port: int
    dialect: Dialect
    processes: tuple[psutil.Process, ...] = ()
    """Those of a proxy; none of what is asked directly."""

    def cost(self) -> Cost:
        times = [each.cpu_times() for each in self.processes]
        memory = sum(each.memory_info().rss for each in self.processes)
        return Cost(sum(each.user + each.system for each in times), memory)


def _family(pid: int) -> tuple[psutil.Process, ...]:
    parent = psutil.Process(pid)
    return (parent, *parent.children(recursive=True))


@asynccontextmanager
async def _child(
    command: list[str], port: int, log: Path, environment: Mapping[str, str]
) -> AsyncIterator[tuple[psutil.Process, ...]]:
    """A server that listens on the port, and its processes."""
    async with serving(command, port, log, environment) as process:
        yield _family(process.pid)


@asynccontextmanager
async def _remuda(upstream: int, folder: Path) -> AsyncIterator[Contestant]:
    port, config = free_port(), folder / "remuda.toml"
    store, url = json.dumps(str(folder / "models")), f"http://127.0.0.1:{upstream}"
    config.write_text(f'[store]\npath = {store}\n\n[upstreams.bench]\nkind = "ollama"\nurl = "{url}"\n')
    command = [sys.executable, "-m", "remuda", "serve", "--host", "127.0.0.1", "--port", str(port)]
    async with _child(command, port, folder / "log", {**os.environ, "REMUDA_CONFIG": str(config)}) as processes:
        yield Contestant("remuda", port, "ollama", processes)


_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream bench {{
        server 127.0.0.1:{upstream};
        keepalive 1000;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@asynccontextmanager
async def _nginx(upstream: int, folder: Path) -> AsyncIterator[Contestant]:
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
    if program is None:
        raise Missing("there is no `nginx` on PATH")
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    command = [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
    async with _child(command, port, folder / "log", os.environ) as processes:
        yield Contestant("nginx", port, "ollama", processes)


_LITELLM = {
    # as it recommends for production
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    # nothing is fetched from or sent to anywhere
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
    # the others ask clients for no key either
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


@asynccontextmanager
async def _litellm(upstream: int, folder: Path, program: Path) -> AsyncIterator[Contestant]:
    if shutil.which(program) is None:
        raise Missing(f"it is not installed ({program}); `make bench-proxy` tries to")
    port, config = free_port(), folder / "config.yaml"
    model = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "litellm_settings": {"num_retries": 0, "telemetry": False, "set_verbose": False},
        "general_settings": {"disable_spend_logs": True},
    }
    config.write_text(json.dumps(settings))  # which is YAML as well
    environment = {**os.environ, **_LITELLM, "HOME": str(folder)}
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    async with _child(command, port, folder / "log", environment) as processes:
        yield Contestant("litellm", port, "openai", processes)


_Start: TypeAlias = Callable[[int, Path, Path], AbstractAsyncContextManager[Contestant]]
_STARTS: dict[str, _Start] = {
    "remuda": lambda upstream, folder, _: _remuda(upstream, folder),
    "nginx": lambda upstream, folder, _: _nginx(upstream, folder),
    "litellm": _litellm,
}
NAMES = tuple(_STARTS)


def open_contestant(name: str, upstream: int, folder: Path, litellm: Path) -> AbstractAsyncContextManager[Contestant]:
    """One of `NAMES` in front of the upstream at that port, with `folder` for its files. Raises `Missing`."""
    folder.mkdir()
    return _STARTS[name](upstream, folder, litellm)


@asynccontextmanager
async def open_helper(module: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A module of this package as a process that ends with its standard input."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{__package__}.{module}"), stdin=pipe, stdout=pipe, limit=2**26
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def check(contestant: Contestant, lines: int = 50) -> None:
    """Asks once for an object and once for a stream. Raises `Missing` unless all of it came. Blocks."""
    try:
        whole = _ask(contestant, 0)
        parts = [line for line in _ask(contestant, lines).splitlines() if line not in {b"", b"data: [DONE]"}]
        for part in (whole, *parts):
            json.loads(part.removeprefix(b"data: "))
    except (OSError, HTTPException, ValueError) as error:
        raise Missing(f"does not answer as it should: {error}") from error
    # LiteLLM adds a line of its own with the role, or joins the last two.
    if b"Once upon a time" not in whole or abs(len(parts) - lines) > (contestant.dialect == "openai"):
        raise Missing(f"does not answer as it should: {whole[:200]!r} and {len(parts)} lines instead of {lines}")


def _ask(contestant: Contestant, lines: int) -> bytes:
    connection = HTTPConnection("127.0.0.1", contestant.port, timeout=30)
    body = request(contestant.dialect, contestant.port, lines).partition(b"\r\n\r\n")[2]
    connection.request("POST", PATHS[contestant.dialect], body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    if reply.status != 200:
        raise ValueError(f"{reply.status} {text[:300]!r}")
    return text
