"""A new configuration for a running server: what can act at once does, and the log says what needs a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import Config, reloadable
from ..errors import RemudaError

if TYPE_CHECKING:
    from .app import App

__all__ = ["Reload"]

_log = logging.getLogger("remuda.server")


class Reload:
    """`read` is blocking, and raises `ConfigError`: then everything stays as it is."""

    def __init__(self, app: App, read: Callable[[], Config]) -> None:
        self._app, self._read = app, read
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def begin(self) -> None:
        """On the event loop. While one reload is going on, the next one waits for it."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            try:
                await self._reload_once()
            except RemudaError as error:
                _log.error("the configuration was not reloaded: %s", error)
            except Exception:
                _log.exception("the configuration was not reloaded")

    async def _reload_once(self) -> None:
        old = self._app.pipeline.config
        config, acting, waiting = reloadable(old, await asyncio.to_thread(self._read))
        self._app.pipeline.reload(config)
        logging.getLogger().setLevel(config.server.log_level.upper())
        _log.info("the configuration was reloaded; changed: %s", ", ".join(acting) or "nothing")
        if waiting:
            _log.warning("needs a restart to act: %s", ", ".join(waiting))
