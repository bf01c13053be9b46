"""A real server on a real socket, for tests: streaming and disconnects cannot be seen through a simulated one."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from remuda.config import Config, StoreConfig
from remuda.plugins import Plugins
from remuda.server import App, bind, create_app, serve

if TYPE_CHECKING:
    from remuda.pipeline import Pipeline

__all__ = ["LiveServer"]

T = TypeVar("T")


class LiveServer:
    """The whole server in a thread with an event loop of its own, on a free port of 127.0.0.1.

        with LiveServer(plugins=plugins) as server:
            httpx.get(server.url + "/api/tags")

    `config.server.host` and `port` are replaced, and a `config.store` that says nothing: the server then has an empty
    store of its own, which is removed at the end. `pipeline` may be a stand-in. Leaving the context drains as SIGTERM
    does, and raises what the server raised.
    """

    def __init__(
        self,
        config: Config | None = None,
        plugins: Plugins | None = None,
        *,
        pipeline: Pipeline | None = None,
        idle_timeout: float = 30.0,
    ) -> None:
        config = config or Config()
        at = msgspec.structs.replace(config.server, host="127.0.0.1", port=0)
        self._folder = Path(tempfile.gettempdir(), f"remuda-{secrets.token_hex(8)}")
        store = StoreConfig(path=str(self._folder)) if config.store == StoreConfig() else config.store
        self.config = msgspec.structs.replace(config, server=at, store=store)
        self.app: App = create_app(self.config, plugins or Plugins(self.config), pipeline)
        self.url = ""
        self.socket: socket.socket | None = None
        """The one that listens, once started."""
        self._idle_timeout = idle_timeout
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remuda-live-server")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

    @property
    def pipeline(self) -> Pipeline:
        return self.app.pipeline

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for raw sockets."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def call(self, make: Callable[[], Awaitable[T]], *, timeout: float = 10.0) -> T:
        """The result of `await make()`, run on the server's loop. Raises `TimeoutError` after `timeout` seconds."""
        assert self._loop is not None

        async def run() -> T:
            async with asyncio.timeout(timeout):
                return await make()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout + 5)

    def start(self) -> Self:
        """Returns once the server answers; raises what kept it from that."""
        self.socket = bind(self.config)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def stop(self) -> None:
        """Drain and end; raises what the server raised."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        assert self.socket is not None
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve(
            self.app,
            self.socket,
            stop=self._stop,
            on_ready=self._answering,
            idle_timeout=self._idle_timeout,
        )

    def _answering(self, url: str) -> None:
        self.url = url
        self._ready.set()
