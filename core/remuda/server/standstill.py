"""Notices when a plugin's code holds up the event loop, where everybody else waits as well, and says whose it is.

Nothing can be done about it from outside: `time.sleep`, a blocking request or a long computation in a backend, a filter
or a route of somebody's runs until it is over. But whoever looks for the reason of a slow server finds it in the log.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Final

from ..plugins import Plugins

__all__ = ["Standstill"]

_LOOKS: Final = 5
"""How often in the time that is allowed it looks, and the loop shows that it goes on."""


class Standstill:
    """From `start`, on the loop that is watched, to `stop`. Costs nothing where all plugins are Remuda's own."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._allowed = plugins.limits.budget
        self._every = self._allowed / _LOOKS
        self._seen = 0.0
        """When the loop last showed that it goes on."""
        self._beat: asyncio.TimerHandle | None = None
        self._over = threading.Event()

    def start(self) -> None:
        if self._plugins.has_others:
            self._over.clear()
            loop = asyncio.get_running_loop()
            self._show(loop)
            arguments = (loop, threading.get_ident())
            threading.Thread(target=self._watch, args=arguments, name="remuda-standstill", daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        if self._beat is not None:
            self._beat.cancel()

    def _show(self, loop: asyncio.AbstractEventLoop) -> None:
        self._seen = time.monotonic()
        self._beat = loop.call_later(self._every, self._show, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._over.wait(self._every) and not loop.is_closed():
            late = time.monotonic() - self._seen
            if late > self._allowed + self._every:
                frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] -- public in spite of its name
                self._plugins.held_up(frames.get(thread), late)
