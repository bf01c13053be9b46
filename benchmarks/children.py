"""Other programs as child processes on loopback, which never outlive the measurement."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

__all__ = ["Missing", "ended", "free_port", "serving"]

_START_SECONDS = 120
"""LiteLLM imports for a long time."""
_STOP_SECONDS = 10
_MOST_LOG = 1000
"""Bytes of a log that are shown when its process does not start."""


class Missing(Exception):
    """A program that cannot be measured here, and why."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@asynccontextmanager
async def serving(
    command: Sequence[str], port: int, log: Path, environment: Mapping[str, str]
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """A server once it listens on the port; all that it prints goes to `log`. Raises `Missing` if it does not start."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        )
    try:
        await _answers(process, port, log)
        yield process
    finally:
        await ended(process)


async def ended(process: asyncio.subprocess.Process, seconds: float = _STOP_SECONDS) -> None:
    """Asks the process to end, and makes it end if it does not."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _answers(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Waits until somebody listens. Raises `Missing` with the end of the log."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise Missing(f"did not start: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace")[-_MOST_LOG:].splitlines())
