"""The way of receipts to a plugin: through a queue of its own, in a thread of its own, off the event loop.

So an observer that takes its time delays nobody. A queue that is full takes no more until there is room.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

__all__ = ["MOST", "Observer"]

MOST: Final = 1000
"""Receipts that may wait for one plugin."""


class Observer:
    """`deliver(receipt)` is called in the thread, in order, and must not raise."""

    def __init__(self, name: str, deliver: Callable[[Any], None]) -> None:
        self._name, self._deliver = f"remuda-observer-{name}", deliver
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._at_work = _AtWork()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        weakref.finalize(self, self._queue.put, None).atexit = False

    @property
    def busy(self) -> float:
        """Seconds for which it has had the receipt that it has now; 0 where it has none."""
        since = self._at_work.since
        return 0.0 if since is None else time.monotonic() - since

    def put(self, receipt: Any) -> bool:
        """Returns at once; False if there was no room for it."""
        if self._queue.qsize() >= MOST:
            return False
        self._start()
        self._queue.put(receipt)
        return True

    def mark(self) -> threading.Event:
        """Set once everything is delivered that was put before."""
        done = threading.Event()
        if self._thread is None:
            done.set()
        else:
            self._queue.put(done)
        return done

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                arguments = (self._queue, self._deliver, self._at_work)
                self._thread = threading.Thread(target=_work, args=arguments, name=self._name, daemon=True)
                self._thread.start()


class _AtWork:
    """What the thread tells. It holds nothing else of the observer, so that a forgotten one ends it."""

    since: float | None = None
    """When it took what it delivers now."""


def _work(queue: SimpleQueue[Any], deliver: Callable[[Any], None], at_work: _AtWork) -> None:
    while (item := queue.get()) is not None:
        if isinstance(item, threading.Event):
            item.set()
        else:
            at_work.since = time.monotonic()
            deliver(item)
            at_work.since = None
