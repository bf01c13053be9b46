"""What the system knows of runner processes, whoever started them, and `remuda serve` in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from children import children

__all__ = ["Serve", "Watch", "is_runner", "remuda_serve"]

_PACE, _PATIENCE = 0.01, 10.0
_START = 60.0


class Watch:
    """The runner processes of this process that were started since, seen by looking often."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        """All of them, first come first."""
        self.most = 0
        """At one time."""
        self._before = {pid for pid in map(int, children()) if is_runner(pid)}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def alive(self) -> list[int]:
        return [pid for pid in self.pids if is_runner(pid)]

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_PACE):
            now = [pid for pid in map(int, children()) if pid not in self._before and is_runner(pid)]
            self.most = max(self.most, len(now))
            self.pids += [pid for pid in now if pid not in self.pids]


def is_runner(pid: int) -> bool:
    """Whether it lives: a process that has ended and is not reaped yet has no command line."""
    try:
        return b"remuda.runner.host" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Serve:
    """`remuda serve` with the scripted backend, once it listens. `log` is what it wrote to stderr so far."""

    def __init__(self, *args: str) -> None:
        program = Path(__file__).with_name("scripted_serve.py")
        self.popen = subprocess.Popen(
            [sys.executable, str(program), "serve", "--port", "0", *args],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self.url = self.said("Listening on ", _START).split()[2]
        except BaseException:
            self.kill()
            raise

    def said(self, text: str, seconds: float = _PATIENCE, after: int = 0) -> str:
        """The first line from number `after` on with `text` in it, when it is there."""

        def found() -> str:
            return next((line for line in self.log[after:] if text in line), "")

        with self._news:
            line = self._news.wait_for(found, seconds)
        assert line, f"the log does not say {text!r}: {self.log}"
        return line

    def reload(self) -> list[str]:
        """What the log says of it."""
        before = len(self.log)
        self.popen.send_signal(signal.SIGHUP)
        self.said("the configuration was", after=before)
        return self.log[before:]

    def end(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        status = self.popen.wait(30)
        self._reader.join()
        return status

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as lines:
            for line in lines:
                with self._news:
                    self.log.append(line.rstrip())
                    self._news.notify_all()


@contextmanager
def remuda_serve(config: Path) -> Iterator[Serve]:
    server = Serve("--config", str(config))
    try:
        yield server
    finally:
        server.kill()
