"""A server for one command: started when none is running, stopped when the command ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager

import msgspec

from ..config import Config, find_file, load_config
from ..plugins import Plugins
from .client import Client, Target, Unreachable, target_from
from .group import LoadPlugins

__all__ = ["reached_client"]

_DRAIN_SECONDS = 1.0
"""The one request is over, or nobody waits for it any more."""


@contextmanager
def reached_client(load: LoadPlugins) -> Generator[Client, None, None]:
    """A client of the server that `OLLAMA_HOST` names, or else of one that lives as long as this context.

    Only this machine's own server is stood in for: whoever names another machine does not want this one's models.
    """
    target = target_from()
    with ExitStack() as stack:
        client = stack.enter_context(closing(Client(target)))
        if not client.reachable():
            if not target.loopback:
                raise Unreachable(target.url)
            url = stack.enter_context(_embedded(load))
            client = stack.enter_context(closing(Client(Target(url, True))))
        yield client


@contextmanager
def _embedded(load: LoadPlugins) -> Generator[str, None, None]:
    """The URL of a server that runs in a thread of this process."""
    from anyio.from_thread import start_blocking_portal

    config = load_config(find_file())
    server = msgspec.structs.replace(config.server, host="127.0.0.1", port=0, drain_timeout=_DRAIN_SECONDS)
    config = msgspec.structs.replace(config, server=server)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_serving(config, load())) as url:
        yield url


@asynccontextmanager
async def _serving(config: Config, plugins: Plugins) -> AsyncGenerator[str, None]:
    from ..server import bind, create_app, serve

    app = create_app(config, plugins)
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(app, bind(config), stop=stop, on_ready=ready.set_result))
    try:
        await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            yield ready.result()
    finally:
        stop.set()
        await serving
