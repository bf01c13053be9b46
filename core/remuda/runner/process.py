"""A child process of the server at the other end of a socket pair: started, listened to, ended.

The child is `python -P -m MODULE FD PARENT_PID`. It is started from the event loop's own thread, because Linux ties
"die with the parent" to the thread that forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import without_paths
from .frames import FrameError, FrameReader

__all__ = ["Child"]

_log = logging.getLogger("remuda.runner")
_TAIL = 20
_LAST_WORDS = 300
_NO_MEMORY: Final = re.compile(
    r"MemoryError|bad_alloc|failed to map segment|(?:insufficient|cannot allocate|out of) memory|memory allocation"
    r"|mem_buffer != NULL",
    re.IGNORECASE,
)
_SECRET: Final = re.compile(r"(?:KEY|TOKEN|SECRET|CREDENTIAL|PASS(?:WORD|WD|PHRASE)?)S?(?![A-Z])", re.IGNORECASE)
"""Found in `OPENAI_API_KEY` and `PGPASSWORD`, not in `TOKENIZERS_PARALLELISM`."""


class Child(asyncio.Protocol):
    """`on_frame(body)` is called for each frame, `on_gone()` once when the child has closed its end.

    The child gets this process's environment without the variables that are secrets by their names: those that hold
    KEY, TOKEN, SECRET, CREDENTIAL, PASS or PASSWORD, in either case, with no letters behind it but a plural's.
    """

    def __init__(self, on_frame: Callable[[bytes], None], on_gone: Callable[[], None]) -> None:
        self._on_frame, self._on_gone = on_frame, on_gone
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._errors: deque[str] = deque(maxlen=_TAIL)
        self._listener: asyncio.Task[None] | None = None
        self._verdict = ""
        self.killed = False
        """By this side, whatever the reason."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def connected(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def returncode(self) -> int | None:
        """How it ended: its exit status, or minus the number of the signal; None until that is known."""
        return self._process.returncode if self._process is not None else None

    async def start(self, module: str, environment: dict[str, str] | None = None) -> None:
        """`environment` holds variables for the child where this process's own environment lacks them."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-m",
                    module,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                    env={**(environment or {}), **_public(os.environ)},
                )
            except BaseException:
                ours.close()
                raise
        self._listener = asyncio.create_task(self._listen(self._process))
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)

    def send(self, frame: bytes) -> None:
        """Queue a frame; silently dropped when the child is gone, since `on_gone` has told or will tell."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    async def close(self, grace: float = 2.0) -> None:
        """Close the socket, which ends the child, and wait for it; after `grace` seconds kill it."""
        if self._transport is not None:
            self._transport.abort()
        await self.reap(grace)

    async def reap(self, grace: float = 2.0) -> None:
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        if self._listener is not None:
            await self._listener

    def kill(self, verdict: str = "") -> None:
        """`verdict` says why, in place of its last words. Nothing is heard of it any more."""
        if self._process is not None and self._process.returncode is None:
            self.killed = True
            self._verdict = self._verdict or verdict
            with contextlib.suppress(ProcessLookupError):
                # Not its own `kill`, which may reap a process that has just ended: its status would be lost.
                os.kill(self._process.pid, signal.SIGKILL)
            if self._transport is not None:
                self._transport.abort()

    @property
    def last_words(self) -> str:
        """Why it was killed; else the last line of its stderr, without paths, or how it ended."""
        if self._verdict:
            return self._verdict
        for line in reversed(self._errors):
            if line.strip():
                return without_paths(line.strip())[:_LAST_WORDS]
        code = self.returncode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}" if code else ""

    @property
    def wanted_memory(self) -> bool:
        """Whether its last lines, of its runtime or of an engine, say that there was not enough."""
        return any(_NO_MEMORY.search(line) for line in self._errors)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._reader.feed(data):
                self._on_frame(body)
        except FrameError as error:
            self.kill(f"it sent what is not a frame: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_gone()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # a line longer than the stream's buffer: its beginning is dropped
                continue
            if not line:
                break
            text = line.decode("utf-8", "replace").rstrip()
            self._errors.append(text)
            _log.info("runner %d: %s", process.pid, text)
        await process.wait()


def _public(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not _SECRET.search(name)}
