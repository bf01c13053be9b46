"""A command on a pseudo-terminal, and the person before it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import IO, Self

__all__ = ["Terminal"]


class Terminal:
    """`expect` reads until a text appears; `type` types a line. Leaving the context ends the command.

    With `stdout`, a file, what the command answers goes there and cannot be seen.
    """

    def __init__(
        self, *args: str, seconds: float = 60, term: str = "dumb", columns: int = 60, stdout: IO[bytes] | None = None
    ) -> None:
        mine, its = pty.openpty()
        self._fd = mine
        self._deadline = time.monotonic() + seconds
        self._unread = ""
        environ = {**os.environ, "TERM": term, "COLUMNS": str(columns), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "remuda", *args]
        self._process = subprocess.Popen(command, stdin=its, stdout=stdout or its, stderr=its, env=environ)
        os.close(its)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def expect(self, text: str) -> str:
        """Everything shown up to and with `text`."""
        while text not in self._unread:
            ready, _, _ = select.select([self._fd], [], [], max(0, self._deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {text!r} in time, but {self._unread!r}")
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # the last process on the other side is gone
                data = b""
            if not data:
                raise AssertionError(f"the command ended without {text!r}: {self._unread!r}")
            self._unread += data.decode().replace("\r\n", "\n")
        seen, _, self._unread = self._unread.partition(text)
        return seen + text

    def type(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def hang_up(self) -> None:
        """Ctrl-D."""
        os.write(self._fd, b"\x04")

    def ended(self) -> int:
        """The exit status, once the command has ended."""
        return self._process.wait(max(0.1, self._deadline - time.monotonic()))
