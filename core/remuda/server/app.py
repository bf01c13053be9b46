"""The application put together: an ASGI callable that owns its parts, and shares nothing with another one."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from ..config import Config, is_loopback
from ..plugins import Plugins
from .answers import Answers
from .blobs import Blobs
from .drain import Drain
from .exchange import Receive, Send
from .guard import Guard
from .metrics import Replies
from .relay import Relay
from .shim import Shim, refuse_websocket
from .web import as_asgi, make_quart

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["App", "create_app"]

_LEAVING: Final = 3.0
"""Seconds that leaving one lifespan may take: the others wait, and the end of the server with them."""

_log = logging.getLogger("remuda.server")


class App:
    """An ASGI 3 application. `remuda.server.serve` runs it best; any HTTP/1.1 ASGI server can."""

    def __init__(self, config: Config, plugins: Plugins, pipeline: Pipeline) -> None:
        self.config = config
        self.plugins = plugins
        self.pipeline = pipeline
        self.drain = Drain()
        self.guard = Guard(config.server.origins, loopback=is_loopback(config.server.host))
        replies = Replies()
        quart = as_asgi(make_quart(pipeline, plugins, self.drain, replies))
        answers = Answers(pipeline, self.drain)
        relay = Relay(pipeline, self.drain, answers, quart)
        blobs = Blobs(pipeline, self.drain)
        self._shim = Shim(quart, answers, blobs, relay, config.server, self.guard, self.drain, replies)
        self._lifespans: list[tuple[str, AbstractAsyncContextManager[None]]] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._shim(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await refuse_websocket(scope, send)

    async def startup(self) -> None:
        """Start the pipeline, enter the plugins' lifespans. A plugin that fails is reported, and the others go on."""
        self.pipeline.start()
        timeout = self.plugins.limits.start_timeout
        for name, manager in await asyncio.to_thread(self.plugins.lifespans, self):
            if await self._in_time(name, manager.__aenter__(), "to enter", timeout):
                self._lifespans.append((name, manager))

    async def shutdown(self) -> None:
        """Unload every model and leave the lifespans, last entered first. Call it in the task of `startup`."""
        try:
            await self.pipeline.close()
        except Exception:
            _log.exception("the models could not be unloaded")
        while self._lifespans:
            name, manager = self._lifespans.pop()
            await self._in_time(name, manager.__aexit__(None, None, None), "to leave", _LEAVING)

    async def _in_time(self, name: str, work: Awaitable[object], what: str, seconds: float) -> bool:
        """Whether a plugin's lifespan did what it should; else its fault is told."""
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                await work
        except Exception:
            text = f"{traceback.format_exc().rstrip()}\nFix: repair its remuda_lifespan"
            if scope.expired():
                text = f"its remuda_lifespan took more than {seconds:g} s {what}\nFix: do slow work in a task"
            self.plugins.fault(name, text)
            return False
        return True

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await self.startup()
            await send({"type": "lifespan.startup.complete"})
        self.drain.begin()
        await self.shutdown()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(config: Config, plugins: Plugins, pipeline: Pipeline | None = None) -> App:
    """The whole server but its socket. Raises `ConfigError` for settings that make no sense."""
    if pipeline is None:
        from ..pipeline import Pipeline

        pipeline = Pipeline(config, plugins)
    return App(config, plugins, pipeline)
