"""Servers of OpenAI's API that are not ours, run as processes of their own with small models."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["llama_cpp_server", "llama_server", "missing"]

_READY = 30.0
"""Seconds."""
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def missing(kind: str) -> str:
    """Why there is no such server here; empty if there is."""
    if kind == "llama-server":
        return "" if _llama_server() else "llama-server is neither on PATH nor in the variable LLAMA_SERVER"
    for name in ("llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings"):
        if importlib.util.find_spec(name) is None:
            return f"the server of llama-cpp-python needs {name}"
    return ""


@contextmanager
def llama_cpp_server(folder: Path, chat: Path, embedder: Path) -> Iterator[str]:
    """llama-cpp-python's own with the models `far:135m` and `vectors`; where it listens, without `/v1`."""
    models = [
        {"model": str(chat), "model_alias": "far:135m", "n_ctx": 1024},
        {"model": str(embedder), "model_alias": "vectors", "n_ctx": 64, "embedding": True},
    ]
    common = {"n_threads": 1, "n_threads_batch": 1, "verbose": False}
    config = {"host": "127.0.0.1", "port": 0, "models": [{**common, **model} for model in models]}
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "llama_cpp.server", "--config_file", str(folder / "config.json")]
    with _running(command, "Uvicorn running on") as url:
        yield url


@contextmanager
def llama_server(chat: Path) -> Iterator[str]:
    """llama.cpp's with the model `far:135m`."""
    more = ("-c", "1024", "-np", "2", "-t", "1", "--no-webui")
    command = [_llama_server(), "-m", str(chat), "--alias", "far:135m", "--host", "127.0.0.1", "--port", "0", *more]
    with _running(command, "listening on") as url:
        yield url


def _llama_server() -> str:
    return os.environ.get("LLAMA_SERVER", "") or shutil.which("llama-server") or ""


@contextmanager
def _running(command: Sequence[str], ready: str) -> Iterator[str]:
    """Until its log says `ready`, with its address beside it."""
    found, said = threading.Event(), [""]
    address: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if ready in line and (match := _ADDRESS.search(line)):
                address.append(match[0])
                found.set()
        found.set()

    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    reader = threading.Thread(target=read)
    reader.start()
    try:
        if not found.wait(_READY) or not address:
            raise AssertionError(f"{command[0]} did not start: {''.join(said[-20:])}")
        yield address[0]
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
