"""`remuda serve` in a process of its own, on a folder of models that the test gives it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Serving"]

_MARK = "REMUDA_TEST_MARK"
_START_SECONDS = 60.0
_SERVE = ("-m", "remuda", "serve", "--port", "0")


class Serving:
    """A context manager; leaving it kills what is left. `url` is where it listens, `log` what it has written.

    `models` is the folder, `home` is made, `command` is what `python` runs, `environ` is added to the environment.
    """

    def __init__(
        self,
        models: Path,
        home: Path,
        *,
        command: Sequence[str] = _SERVE,
        python: str = sys.executable,
        **environ: str,
    ) -> None:
        home.mkdir(exist_ok=True)
        self._mark = secrets.token_hex(8)
        own = {"HOME": str(home), "OLLAMA_MODELS": str(models), _MARK: self._mark}
        self.popen = subprocess.Popen(
            [python, *command],
            env={**os.environ, **own, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = ""
        self.log: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        if not self._listening.wait(_START_SECONDS) or not self.url:
            self._kill()
            raise AssertionError(f"the server did not start: {''.join(self.log)}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._kill()

    def kill(self) -> None:
        """As an administrator does who has no patience."""
        self.popen.kill()
        self.await_end()

    def terminate(self) -> int:
        """Ask it to stop; its status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.await_end()

    def await_end(self, seconds: float = 20.0) -> int:
        """Its status, once it and all that it began have ended. Raises `TimeoutExpired` and `AssertionError`."""
        status = self.popen.wait(seconds)
        deadline = time.monotonic() + seconds
        while others := self.processes():
            assert time.monotonic() < deadline, f"still running: {others}"
            time.sleep(0.02)
        return status

    def processes(self) -> list[str]:
        """The commands of what runs with this server's environment: itself, if it still does, and all it began."""
        found: list[str] = []
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            try:
                if f"{_MARK}={self._mark}".encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def _kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.log.append(line)
            if line.startswith("Listening on "):
                self.url = line.split()[2]
                self._listening.set()
        self._listening.set()
