"""Servers whose models misbehave, and a client that looks closely at how they take it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from company_serving import Serving
from loaded import loaded_model
from tiny_models import write_tiny_llama

from remuda.config import Config, LimitsConfig, ModelConfig, ResidencyConfig, ServerConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin, write_script

__all__ = [
    "ENDLESS",
    "Front",
    "Raw",
    "await_true",
    "both_engines",
    "endless",
    "runner_pid",
    "runners",
    "scripted_models",
    "serving",
    "serving_apart",
]

_PATIENCE = 10.0
"""Seconds after which something that must happen soon has not happened."""
ENDLESS: dict[str, Any] = {"pieces": ["tick ", "tock "], "repeat": 100_000, "delay": 0.01}
"""Fields of a script that writes about a hundred tokens a second for as long as somebody listens."""

both_engines = pytest.mark.parametrize("engine", ["scripted", "llama.cpp"])


def endless(engine: str, folder: Path, name: str = "endless") -> ModelConfig:
    """A model that writes for as long as somebody listens, or ten times its context; `engine` as in `both_engines`."""
    if engine == "scripted":
        return scripted_models(folder, {name: Script(**ENDLESS)})[name]
    weights = write_tiny_llama(folder / f"{name}.gguf", context_length=8192, seed=len(name))
    return ModelConfig(
        path=str(weights), options={"temperature": 0, "num_predict": -1, "num_ctx": 8192, "num_thread": 1}
    )


def await_true(condition: Callable[[], object], seconds: float = _PATIENCE) -> float:
    """The seconds until `condition` held; fails if it does not."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.005)
    return time.monotonic() - began


class Raw:
    """One connection, byte by byte."""

    def __init__(self, url: str, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(30)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        host, _, port = url.removeprefix("http://").partition(":")
        try:
            self.sock.connect((host, int(port)))
        except OSError:
            self.sock.close()
            raise

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def post(self, **fields: Any) -> Raw:
        """A request to `/api/generate`."""
        body = json.dumps({"prompt": "hi", **fields}).encode()
        head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode() + body)
        return self

    def until(self, mark: bytes) -> bytes:
        """What came up to `mark`, and maybe some more; all there is if the server closed before, however it did."""
        data = b""
        with suppress(ConnectionResetError):
            while mark not in data and (piece := self.sock.recv(65536)):
                data += piece
        return data


class Front:
    """Asks one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None))

    def close(self) -> None:
        self._http.close()

    def ask(self, model: str, prompt: str = "hi", **fields: Any) -> httpx.Response:
        """For one object."""
        return self._http.post("/api/generate", json={"model": model, "prompt": prompt, "stream": False, **fields})

    def told(self, model: str, prompt: str = "hi", **fields: Any) -> str:
        """The text of an answer that must succeed."""
        reply = self.ask(model, prompt, **fields)
        assert reply.status_code == 200, reply.text
        return reply.json()["response"]

    @contextmanager
    def stream(self, model: str, prompt: str = "hi", **fields: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """Lines as they come, of a stream that must begin; leaving the block closes the connection.

        A body that is not ended as its framing demands raises `httpx.RemoteProtocolError`.
        """
        with self._http.stream("POST", "/api/generate", json={"model": model, "prompt": prompt, **fields}) as reply:
            assert reply.status_code == 200, reply.read()
            yield (json.loads(line) for line in reply.iter_lines())

    def lines(self, model: str, prompt: str = "hi", **fields: Any) -> list[dict[str, Any]]:
        """All of a stream."""
        with self.stream(model, prompt, **fields) as lines:
            return list(lines)

    def unload(self, model: str) -> None:
        reply = self._http.post("/api/generate", json={"model": model, "keep_alive": 0})
        assert reply.status_code == 200, reply.text

    def delete(self, path: str, **fields: Any) -> int:
        return self._http.request("DELETE", path, json=fields).status_code

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path)

    def ps(self) -> dict[str, dict[str, Any]]:
        """The models in memory, by their names without `:latest`."""
        return {entry["name"].removesuffix(":latest"): entry for entry in self.get("/api/ps").json()["models"]}

    def queue(self) -> list[dict[str, Any]]:
        """Who waits."""
        return self.get("/api/ps").json().get("queue", [])

    def running(self, model: str) -> int:
        """Requests that the model works at."""
        return self.ps().get(model, {"running": 0})["running"]

    def await_running(self, model: str, count: int, seconds: float = _PATIENCE) -> float:
        """The seconds until just so many were running."""
        return await_true(lambda: self.running(model) == count, seconds)

    def await_waiting(self, count: int) -> None:
        await_true(lambda: len(self.queue()) == count)


def scripted_models(folder: Path, scripts: dict[str, Script]) -> dict[str, ModelConfig]:
    return {
        name: ModelConfig(path=str(write_script(folder / f"{name}.json", script)), format="scripted")
        for name, script in scripts.items()
    }


@contextmanager
def serving(
    models: dict[str, ModelConfig],
    *,
    limits: LimitsConfig | None = None,
    residency: ResidencyConfig | None = None,
    server: ServerConfig | None = None,
    plugins: tuple[tuple[str, object], ...] = (),
) -> Iterator[tuple[LiveServer, Front]]:
    """A server in this process with these models, and a client of it."""
    config = Config(
        models=models,
        limits=limits or LimitsConfig(),
        residency=residency or ResidencyConfig(),
        server=server or ServerConfig(drain_timeout=1.0),
    )
    with LiveServer(config, load_plugins(extra=[("scripted", ScriptedPlugin()), *plugins])) as live:
        front = Front(live.url)
        try:
            yield live, front
        finally:
            front.close()


def serving_apart(folder: Path, settings: str, models: dict[str, ModelConfig], *, port: int = 0) -> Serving:
    """The same in a process of its own, by the command line. `settings` is TOML that goes before the models."""
    tables = [
        f"[models.{name}]\npath = {json.dumps(model.path)}\nformat = {json.dumps(model.format)}"
        for name, model in models.items()
    ]
    options = [f"[models.{name}.options]\n{_toml(model.options)}" for name, model in models.items() if model.options]
    file = folder / "remuda.toml"
    file.write_text("\n".join([settings, *tables, *options]), encoding="utf-8")
    program = Path(__file__).with_name("scripted_serve.py")
    command = [str(program), "serve", "--port", str(port), "--config", str(file)]
    return Serving(folder / "models", folder / "home", command=command)


def _toml(values: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def runner_pid(server: LiveServer, model: str) -> int:
    """The process of a loaded model of a server in this process."""
    pid = loaded_model(server, f"{model}:latest").pid
    assert pid is not None
    return pid


def runners(parent: int) -> set[int]:
    """Processes with models in them that `parent` has started and that have not ended."""
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes()
            status = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if b"remuda.runner.host" in command and int(status[1]) == parent:
            found.add(int(process.name))
    return found
