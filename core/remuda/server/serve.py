"""Serving: accept, and end well.

The end has an order. The listener closes first, so that nobody new comes. Running requests go on for `drain_timeout`
while connections that are still open meet 503. What runs after that is cut: each stream gets an error line. Then the
models are unloaded. Whoever is cancelled meanwhile (a second signal) goes straight to the last step.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext

from ..config import Config, is_loopback, url_of
from ..plugins import Plugins
from ..runner.confine import be_nice
from .app import App, create_app
from .connection import Connection, WatchedReader, hypercorn_config
from .listen import BACKLOG, bind
from .reload import Reload

__all__ = ["run_server", "serve"]

IDLE_TIMEOUT: Final = 30.0
"""Seconds that a connection may be silent before a request's headers are complete."""
FAREWELL: Final = 2.0
"""Seconds in which cut requests may say so and connections may be closed."""
CLOSE_TIMEOUT: Final = 10.0
"""Seconds in which the models must be unloaded; their processes die with this one anyway."""
_YOUNG: Final = 20_000
"""Objects made between two looks for garbage: requests leave little that is not freed by itself."""
PATIENCE: Final = 0.4
"""Seconds between a second signal and the end of the process, whatever is still running."""

_log = logging.getLogger("remuda.server")


async def serve(
    app: App,
    sock: socket.socket,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[str], None] = lambda url: None,
    idle_timeout: float = IDLE_TIMEOUT,
) -> None:
    """Serve `app` on a socket that `bind` made until `stop` is set, then drain; both are closed on return.

    `on_ready` is called with the server's URL once it answers. Cancel the task to end without draining.
    """
    listener = _Listener(app, sock, idle_timeout)
    app.guard.loopback = is_loopback(sock.getsockname()[0])
    patience = 0.0
    try:
        await app.startup()
        await listener.open()
        on_ready(url_of(*sock.getsockname()[:2]))
        await stop.wait()
        app.drain.begin()
        listener.close()
        if app.drain.running:
            _log.info("shutting down: %d requests are still running", app.drain.running)
        if not await app.drain.idle(app.config.server.drain_timeout):
            _log.warning("%d requests did not end in time and are cut", app.drain.running)
            app.drain.cut()
            await app.drain.idle(FAREWELL)
        await listener.farewell(FAREWELL)
        patience = CLOSE_TIMEOUT
    finally:
        listener.close()
        await listener.abort()
        try:
            async with asyncio.timeout(patience or PATIENCE / 2):
                await app.shutdown()
        except TimeoutError:
            _log.warning("unloading the models took too long")


class _Listener:
    """The accepting socket and every open connection."""

    def __init__(self, app: App, sock: socket.socket, idle_timeout: float) -> None:
        self._app = ASGIWrapper(app)  # pyright: ignore[reportArgumentType] -- ours takes any mapping
        self._sock = sock
        self._config = hypercorn_config(idle_timeout)
        self._close_limit = app.config.server.write_timeout
        self._context = WorkerContext(None)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[Any], Connection] = {}

    async def open(self) -> None:
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(WatchedReader(loop), self._connected, loop=loop)

        self._server = await loop.create_server(protocol, sock=self._sock, backlog=BACKLOG)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        else:
            self._sock.close()

    async def farewell(self, seconds: float) -> None:
        """Let idle connections close, and the others send what they hold."""
        await self._context.terminated.set()
        for connection in self._open.values():
            connection.leave()
        if self._open:
            await asyncio.wait(self._open, timeout=seconds)

    async def abort(self) -> None:
        for connection in self._open.values():
            connection.abort()
        if self._open:  # a lost connection ends what it runs, which cancelling its task from outside does not
            await asyncio.wait(self._open, timeout=PATIENCE / 4)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert isinstance(reader, WatchedReader)
        limit = self._close_limit
        connection = Connection(self._app, self._config, self._context, reader, writer, close_limit=limit)
        self._open[task] = connection
        try:
            await connection.run()
        except asyncio.CancelledError:
            # Only the loop's own end cancels it, and asyncio before 3.12 logs a traceback when it gets away.
            _log.debug("a connection was cancelled")
        except Exception:
            _log.exception("a connection ended in an error")
        finally:
            del self._open[task]


def run_server(
    config: Config,
    plugins: Plugins,
    on_ready: Callable[[str], None],
    *,
    app: App | None = None,
    read_config: Callable[[], Config] | None = None,
) -> int:
    """Serve in this thread, the main one, until SIGTERM or SIGINT; the exit status for the process.

    The first signal drains and returns 0. A second one ends the process within half a second, with 128 and the
    signal's number as status. SIGHUP reads the configuration anew with `read_config`, if that is given, and takes over
    what can change while models stay loaded. Raises `ConfigError` when the address cannot be used or the settings make
    no sense.
    """
    sock = bind(config)
    ended = threading.Event()
    try:
        app = app or create_app(config, plugins)
        # What is here now stays: no collection needs to walk over it again while tokens wait.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG, 20, 50)
        if config.residency.runner_nice is None:
            # Not the models alone: a server that waits for them hands on each token late.
            be_nice(None)
        return asyncio.run(_until_signal(app, sock, on_ready, ended, read_config))
    finally:
        ended.set()
        sock.close()


async def _until_signal(
    app: App,
    sock: socket.socket,
    on_ready: Callable[[str], None],
    ended: threading.Event,
    read_config: Callable[[], Config] | None,
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, sock, stop=stop, on_ready=on_ready))
    if read_config is not None and hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, Reload(app, read_config).begin)
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            loop.call_soon_threadsafe(stop.set)
            return
        _end_process(128 + number, PATIENCE, ended)
        loop.call_soon_threadsafe(serving.cancel)

    # Not `loop.add_signal_handler`: the second signal must work although something blocks the loop.
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        await serving
    except asyncio.CancelledError:
        if len(received) < 2:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    # What is left ignored its cancellation, and `asyncio.run` would wait for it without end.
    _end_process(0, FAREWELL, ended)
    return 128 + received[-1] if len(received) > 1 else 0


def _end_process(status: int, seconds: float, ended: threading.Event) -> None:
    """End the process with `status` unless `ended` is set within `seconds`."""

    def end() -> None:
        if not ended.wait(seconds):
            os._exit(status)

    threading.Thread(target=end, name="remuda-end", daemon=True).start()
