"""The head of a reply goes out with what follows it at once, and never after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import pytest
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Event, RawData

from remuda.server.connection import _Http1, hypercorn_config

pytestmark = pytest.mark.anyio

HEAD = h11.Response(status_code=200, headers=[("Content-Length", "4")])
BODY = h11.Data(data=b"body")


class Wire:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        nothing: Any = None
        context = WorkerContext(None)
        self.protocol = _Http1(nothing, hypercorn_config(30), context, nothing, nothing, False, None, None, self.send)
        self.protocol.connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while self.protocol.connection.their_state is not h11.DONE:
            self.protocol.connection.next_event()

    async def send(self, event: Event) -> None:
        assert isinstance(event, RawData)
        if event.data:
            self.writes.append(bytes(event.data))


async def at_once() -> None:
    return None


async def next_turn() -> None:
    await asyncio.sleep(0)


async def later() -> None:
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(("wait", "writes"), [(at_once, 1), (next_turn, 1), (later, 2)])
async def test_a_body_never_overtakes_its_head(wait: Callable[[], Awaitable[None]], writes: int) -> None:
    wire = Wire()
    await wire.protocol._send_h11_event(HEAD)
    await wait()
    await wire.protocol._send_h11_event(BODY)
    await wire.protocol._send_h11_event(h11.EndOfMessage())
    await later()
    assert b"".join(wire.writes).startswith(b"HTTP/1.1 200")
    assert b"".join(wire.writes).endswith(b"\r\n\r\nbody")
    assert len(wire.writes) == writes


async def test_a_head_that_nothing_follows_is_sent_all_the_same() -> None:
    wire = Wire()
    await wire.protocol._send_h11_event(HEAD)
    await later()
    assert [write[:12] for write in wire.writes] == [b"HTTP/1.1 200"]
