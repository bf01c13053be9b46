"""A TCP proxy that cuts connections, to put between a client and a server that never fails by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable

__all__ = ["cutting_proxy"]


@contextlib.asynccontextmanager
async def cutting_proxy(target: str, cuts: Iterable[int], *, away: float = 0.0) -> AsyncGenerator[str, None]:
    """Host and port, on the way to `target` (the same).

    Each of `cuts` is good for one cut: after so many bytes from clients, counted from the last cut. For `away` seconds
    after it connections are refused.
    """
    host, _, port = target.rpartition(":")
    left = list(cuts)
    passed = 0
    clients: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def upward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal passed
        while data := await reader.read(16 * 1024):
            passed += len(data)
            if left and passed > left[0]:
                writer.write(data[: left.pop(0) - passed])
                await writer.drain()
                passed = 0
                if away:
                    server.close()
                    asyncio.get_running_loop().call_later(away, back.set)
                return
            writer.write(data)
            await writer.drain()

    async def downward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(16 * 1024):
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients[writer] = task
        there, here = await asyncio.open_connection(host, int(port))
        ways = [asyncio.ensure_future(upward(reader, here)), asyncio.ensure_future(downward(there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (here, writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()
        del clients[writer]

    async def come_back() -> None:
        nonlocal server
        while await back.wait():
            back.clear()
            server = await asyncio.start_server(serve, "127.0.0.1", own)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    own = server.sockets[0].getsockname()[1]
    back = asyncio.Event()
    coming = asyncio.ensure_future(come_back())
    try:
        yield f"127.0.0.1:{own}"
    finally:
        coming.cancel()
        server.close()
        tasks = list(clients.values())
        for client in clients:
            client.close()
        await asyncio.gather(*tasks, return_exceptions=True)
