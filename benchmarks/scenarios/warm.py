"""What a server takes for itself: requests of one token, one after another over one connection, whose prompt is known.

The part outside the engine is the time that the client waits less the time that the server says its engine worked.
The client blocks and does next to nothing, in a thread of its own. llama-server closes the connection after an answer
that it has streamed; the time to make another is not counted.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from contextlib import AsyncExitStack

from msgspec import Struct

from ..bench import Bench, Scenario, say
from ..client import Target, ask, read_reply, request
from ..contestants import kindest, open_llama_server, open_remuda
from ..measure import in_turn
from ..table import Row

__all__ = ["SCENARIO"]

_REQUESTS = 200
_SECONDS = 60
"""After so long no further request of a portion is sent."""
_CONTEXT, _PARALLEL = 1024, 4
_PROMPT = "Once upon a time there was a horse that wanted to see the sea, and so one morning it"
_WAYS = {"in one piece": False, "streamed": True}


class _Times(Struct):
    """Seconds, a pair for each request."""

    wall: list[float]
    outside: list[float]


async def _measure(bench: Bench) -> list[Row]:
    async with AsyncExitStack() as stack:
        opening = [open_remuda(bench, "Remuda", _PARALLEL, _CONTEXT)]
        if bench.llama_server:
            opening.append(open_llama_server(bench, "llama-server", *kindest(bench, _PARALLEL, _CONTEXT)))
        everybody = [await stack.enter_async_context(each) for each in opening]
        for each in everybody:
            await ask(each.target, _PROMPT, 1)
        contests = [(each, way) for each in everybody for way in _WAYS]
        times = {(each.name, way): _Times([], []) for each, way in contests}
        portion = -(-_REQUESTS // bench.rounds)
        for turn in bench.turns():
            for each, way in in_turn(contests, turn):
                found = await asyncio.to_thread(_ask_often, each.target, portion, stream=_WAYS[way])
                times[each.name, way].wall.extend(found.wall)
                times[each.name, way].outside.extend(found.outside)
                outside = statistics.median(found.outside) * 1000
                say(f"round {turn + 1}  {each.name:12}  {way:12}  {outside:.2f} ms outside the engine")
    return [_row(*key, found) for key, found in times.items()]


def _ask_often(target: Target, count: int, *, stream: bool) -> _Times:
    """Blocks. A server that closes the connection after an answer gets a new one, at no cost to it."""
    data, times = request(target, _PROMPT, 1, stream=stream, close=False), _Times([], [])
    until = time.monotonic() + _SECONDS
    while len(times.wall) < count and time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", target.port), timeout=_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while len(times.wall) < count and time.monotonic() < until:
                began = time.perf_counter()
                answer = _exchange(connection, data)
                wall = time.perf_counter() - began
                if not answer:
                    break
                times.wall.append(wall)
                times.outside.append(wall - read_reply(target, answer, [0.0]).engine)
    return times


def _exchange(connection: socket.socket, data: bytes) -> bytes:
    """The answer; empty if the server closed the connection before it got the request."""
    answer = b""
    try:
        connection.sendall(data)
        while not _whole(answer):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    except ConnectionError:
        return b""
    return answer


def _whole(answer: bytes) -> bool:
    head, separator, body = answer.lower().partition(b"\r\n\r\n")
    if not separator:
        return False
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"\r\n0\r\n\r\n")
    return len(body) >= int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])


def _row(name: str, way: str, times: _Times) -> Row:
    return {
        "who": name,
        "way": way,
        "requests": len(times.wall),
        "wall_ms": round(statistics.median(times.wall) * 1000, 2),
        "outside_ms": round(statistics.median(times.outside) * 1000, 2),
    }


SCENARIO = Scenario(
    "warm",
    "Requests of one token, one after another over one connection, after a prompt that the server has just seen: the"
    " time that a request takes, and the part of it that the server itself does not count as reading or writing.",
    {
        "who": "",
        "way": "the answer comes",
        "requests": "requests",
        "wall_ms": "median ms",
        "outside_ms": "outside the engine, median ms",
    },
    _measure,
)
