"""How much memory of GPUs is free, seen from the server: a child process asks llama.cpp, `remuda_llamacpp._devices`.

That costs the first load up to a second, and is left out where llama.cpp was built for CPUs only: it has a library for
each kind of device, and only those for CPUs are there.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

__all__ = ["GPUs", "ask_child", "cpu_libraries"]

_MODULE: Final = "remuda_llamacpp._devices"
_PATIENCE: Final = 10.0
"""Seconds that the child may take: some drivers need several."""
_FRESH: Final = 1.0
_SILENT: Final = 60.0
"""Seconds until one that gave no answer is asked again: a driver that hangs must not hold up every load."""
_CPU_LIBRARY: Final = re.compile(r"(?:lib)?ggml-cpu\b")
_HARMLESS: Final = re.compile(r"(?:lib)?(?:ggml-(?:cpu|base|blas)\b|(?:ggml|llama|mtmd)\.)")
_LIBRARY: Final = re.compile(r"\.(?:so|dylib|dll)\b")


class GPUs:
    """Those that this machine lets the server use (`CUDA_VISIBLE_DEVICES` and the like count).

    `ask` tells the free bytes of each, or None where it got no answer.
    """

    def __init__(self, ask: Callable[[], Awaitable[list[int] | None]] | None = None) -> None:
        self._ask = ask or _ask_if_needed
        self._lock = asyncio.Lock()
        self._free: list[int] = []
        self._until = 0.0

    async def free(self) -> list[int]:
        """Free bytes of each, at most a second old; empty where there is none, or none that answers.

        That there is none is remembered.
        """
        async with self._lock:
            if time.monotonic() >= self._until:
                told = await self._ask()
                self._free = told or []
                valid = _SILENT if told is None else _FRESH if told else math.inf
                self._until = time.monotonic() + valid
            return self._free


async def ask_child(module: str = _MODULE, patience: float = _PATIENCE) -> list[int] | None:
    """What the child process says; None if it says nothing that can be understood, or not within `patience` seconds."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        module,
        str(os.getpid()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(patience):
            answer, _ = await child.communicate()
        return msgspec.json.decode(answer, type=list[int])
    except (TimeoutError, msgspec.DecodeError):
        return None
    finally:
        with anyio.CancelScope(shield=True), suppress(ProcessLookupError):
            if child.returncode is None:
                child.kill()
                await child.wait()


async def _ask_if_needed() -> list[int] | None:
    return [] if await anyio.to_thread.run_sync(_cpu_only) else await ask_child()


def _cpu_only() -> bool:
    """Whether the llama.cpp that is installed, if any is, can use nothing but CPUs; False where that is not certain."""
    if os.environ.get("LLAMA_CPP_LIB_PATH"):
        return False
    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return True
    return cpu_libraries(Path(spec.origin).with_name("lib"))


def cpu_libraries(folder: Path) -> bool:
    """Whether all libraries of llama.cpp in `folder` are for CPUs, and one is."""
    try:
        names = [name for name in os.listdir(folder) if _LIBRARY.search(name)]
    except OSError:
        return False
    return any(map(_CPU_LIBRARY.match, names)) and all(map(_HARMLESS.match, names))
