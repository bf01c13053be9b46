"""The thread that writes states, one after another, while the engine goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ..threads.places import anywhere

__all__ = ["Job", "Writer"]


class Job(Struct, frozen=True):
    """A state to be written."""

    name: str
    namespace: bytes
    packed: bytes
    state: NDArray[np.uint8]
    replaces: list[str]
    """Names of files that are not needed once this one is there."""


class Writer:
    """Calls `write(job)`, which must not raise, on a thread of its own, which is started for the first job.

    At most `most` jobs wait or are being written, since each holds its state in memory.
    """

    def __init__(self, write: Callable[[Job], None], most: int) -> None:
        self._write, self._most = write, most
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        """The first is the one being written."""
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def jobs(self) -> list[Job]:
        """Those that are not done, in order."""
        with self._changed:
            return list(self._jobs)

    @property
    def free(self) -> bool:
        """Whether it would take a job."""
        with self._changed:
            return not self._closed and len(self._jobs) < self._most

    def put(self, job: Job) -> bool:
        """Whether it was taken."""
        with self._changed:
            if not self.free or not self._started():
                return False
            self._jobs.append(job)
            self._changed.notify_all()
            return True

    def flush(self, seconds: float) -> bool:
        """Wait for all jobs. Whether they are done."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, seconds)

    def close(self, seconds: float) -> None:
        """As `flush`, then end the thread. A job that is begun by then goes on, while the process lives; the rest are
        dropped."""
        deadline = time.monotonic() + seconds
        self.flush(seconds)
        with self._changed:
            self._closed = True
            del self._jobs[1:]
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def _started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="saved-states", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads, or no memory for its stack
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        anywhere()
        while self._run_one():
            pass

    # A function of its own, so that no name here holds on to a written state while waiting for the next.
    def _run_one(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return False
            job = self._jobs[0]
        try:
            self._write(job)
        finally:
            with self._changed:
                del self._jobs[0]
                self._changed.notify_all()
        return True
