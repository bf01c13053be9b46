"""The application put together: an ASGI callable that owns its parts, and shares nothing with another one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..config import Config, is_loopback
from ..plugins import Plugins
from .answers import Answers
from .blobs import Blobs
from .drain import Drain
from .exchange import Receive, Send
from .guard import Guard
from .lifespans import Lifespans
from .metrics import Replies
from .relay import Relay
from .shim import Shim, refuse_websocket
from .standstill import Standstill
from .web import as_asgi, make_quart

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["App", "create_app"]

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
        self._lifespans = Lifespans(plugins)
        self._standstill = Standstill(plugins)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._shim(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await refuse_websocket(scope, send)

    async def startup(self) -> None:
        """Start the pipeline, enter the plugins' lifespans. A plugin that fails is reported, and the others go on."""
        self._standstill.start()
        self.pipeline.start()
        await self._lifespans.enter(self)

    async def shutdown(self) -> None:
        """Unload every model and leave the lifespans, last entered first."""
        try:
            await self.pipeline.close()
        except Exception:
            _log.exception("the models could not be unloaded")
        await self._lifespans.leave()
        self._standstill.stop()

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
