"""Streams: how they end, and what becomes of the work when the client is gone."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from remuda.errors import BadRequest, ModelNotFound, RunnerDied, ServerBusy
from remuda.wire import GenerateResponse

BODY = b'{"model":"m","prompt":"x"}'
Items = AsyncGenerator[GenerateResponse, None]


def streaming(make: Callable[[], Items]) -> Callable[..., Awaitable[Items]]:
    async def answer(*_: object) -> Items:
        return make()

    return answer


class Held:
    """Work that goes on until it is cancelled or closed."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()

    async def forever(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


def lines_of(rig: Any) -> list[dict[str, Any]]:
    reply = rig.http.post("/api/generate", content=BODY)
    assert reply.status_code == 200
    assert reply.content.endswith(b"\n")
    return [json.loads(text) for text in reply.content.splitlines()]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ModelNotFound("m"), 404, "model 'm' not found"),
        (BadRequest("no"), 400, "no"),
        (RunnerDied(), 500, str(RunnerDied())),
        (ServerBusy(), 503, "server busy, please try again.  maximum pending requests exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_error_before_the_first_byte(rig: Any, error: Exception, status: int, message: str, stream: bool) -> None:
    async def answer(*_: object) -> Any:
        raise error

    rig.standin.answer = answer
    reply = rig.http.post("/api/generate", json={"model": "m", "stream": stream})
    assert (reply.status_code, reply.json()) == (status, {"error": message})
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert ("retry-after" in reply.headers) == (status == 503)


@pytest.mark.parametrize(
    ("error", "message"), [(RunnerDied("boom"), str(RunnerDied("boom"))), (ValueError("secret"), "internal error")]
)
def test_error_in_the_middle(rig: Any, error: Exception, message: str) -> None:
    async def items() -> Items:
        yield rig.line("a")
        raise error

    rig.standin.answer = streaming(items)
    first, last = lines_of(rig)
    assert first["response"] == "a"
    assert list(last) == ["error"]
    assert last["error"].startswith(message)
    assert "secret" not in last["error"]
    rig.standin.answer = rig.standin.words
    rig.assert_alive()


def test_stream_without_an_end_gets_one(rig: Any) -> None:
    async def items() -> Items:
        yield rig.line("a")

    rig.standin.answer = streaming(items)
    assert [next(iter(each)) for each in lines_of(rig)] == ["model", "error"]


@pytest.mark.parametrize("error", [None, RunnerDied()])
def test_nothing_follows_done(rig: Any, error: Exception | None) -> None:
    async def items() -> Items:
        yield rig.line("a", done=True)
        if error:
            raise error
        yield rig.line("b")

    rig.standin.answer = streaming(items)
    assert [each["response"] for each in lines_of(rig)] == ["a"]


def test_each_line_leaves_at_once(rig: Any) -> None:
    gate = threading.Event()

    async def items() -> Items:
        yield rig.line("a")
        await asyncio.to_thread(gate.wait, 5)
        yield rig.line(done=True)

    rig.standin.answer = streaming(items)
    with rig.raw() as client:
        assert b'"response":"a"' in client.post(BODY).until(b"}\n")
        gate.set()
        client.until(b'"done":true')


def leave(client: Any, how: str) -> None:
    if how == "half-close":
        client.sock.shutdown(socket.SHUT_WR)
    elif how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sock.close()
    else:
        client.sock.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_client_leaves_before_the_first_byte(rig: Any, how: str) -> None:
    held = Held()

    async def answer(*_: object) -> Any:
        await held.forever()

    rig.standin.answer = answer
    with rig.raw() as client:
        client.post(BODY)
        assert held.began.wait(5)
        leave(client, how)
        assert held.ended.wait(5)
    rig.wait_idle()


def test_client_leaves_with_a_second_request_in_the_pipe(rig: Any) -> None:
    held = Held()

    async def answer(*_: object) -> Any:
        await held.forever()

    rig.standin.answer = answer
    with rig.raw() as client:
        client.post(BODY).post(BODY)
        assert held.began.wait(5)
    assert held.ended.wait(5)
    rig.wait_idle()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_client_leaves_between_two_lines(rig: Any, how: str) -> None:
    held = Held()

    async def items() -> Items:
        yield rig.line("a")
        await held.forever()

    rig.standin.answer = streaming(items)
    with rig.raw() as client:
        client.post(BODY).until(b"}\n")
        assert held.began.wait(5)
        leave(client, how)
        assert held.ended.wait(5)
    rig.wait_idle()


def test_stream_that_was_never_begun_is_closed(rig: Any) -> None:
    """The client leaves in the moment between the answer of the pipeline and its first byte."""
    closed = threading.Event()
    exchanges: list[Any] = []

    class Stream:
        def __aiter__(self) -> Any:
            raise AssertionError("nobody is there to read")

        async def aclose(self) -> None:
            closed.set()

    async def answer(*_: object) -> Any:
        from remuda.server import current_exchange

        exchange = current_exchange()
        exchange.gone = True
        exchanges.append(exchange)
        return Stream()

    rig.standin.answer = answer
    with rig.raw() as client:
        client.post(BODY)
        assert closed.wait(5)
    assert exchanges[0].status == 200


def test_client_leaves_a_backlog_and_starves_nobody(rig: Any) -> None:
    """A generator that never suspends must end with its client, not when it is through."""
    sent = 0
    closed = threading.Event()

    async def backlog() -> Items:
        nonlocal sent
        try:
            for _ in range(400_000):
                sent += 1
                yield rig.line("x" * 40)
        finally:
            closed.set()

    rig.standin.answer = streaming(backlog)
    with rig.raw() as client:
        client.post(BODY).until(b"}\n")
    assert closed.wait(10)
    assert sent < 100_000
    rig.standin.answer = rig.standin.words
    rig.assert_alive()


def test_others_are_served_beside_a_backlog(rig: Any) -> None:
    async def backlog() -> Items:
        while True:
            yield rig.line("x" * 40)

    rig.standin.answer = streaming(backlog)
    with rig.raw() as client:
        client.post(BODY).until(b"}\n")
        reading = threading.Thread(target=client.rest)
        reading.start()
        for _ in range(20):
            assert rig.http.get("/api/version").status_code == 200
        client.sock.shutdown(socket.SHUT_RDWR)
        reading.join()
    rig.wait_idle()


def test_client_that_stops_reading_is_dropped(make_rig: Any) -> None:
    rig = make_rig(write_timeout=0.3)
    closed = threading.Event()

    async def endless() -> Items:
        try:
            while True:
                yield rig.line("x" * 1000)
        finally:
            closed.set()

    rig.standin.answer = streaming(endless)
    with rig.raw(receive_buffer=4096) as client:
        client.post(BODY)
        assert closed.wait(10)
        rig.wait_idle()
        tail = client.rest()
        assert b'"done":true' not in tail
    rig.standin.answer = rig.standin.words
    rig.assert_alive()


def test_client_that_never_takes_a_single_object_is_dropped(make_rig: Any) -> None:
    rig = make_rig(write_timeout=0.3, idle_timeout=0.3)

    async def answer(*_: object) -> Any:
        return rig.line("x" * 8_000_000, done=True)

    rig.standin.answer = answer
    with rig.raw(receive_buffer=4096) as client:
        client.post(BODY)
        poll = select.poll()
        poll.register(client.sock, 0)  # errors and hang-ups are always reported
        assert poll.poll(10_000), "the connection is still open"
    rig.wait_idle()


def test_client_that_never_takes_the_end_of_a_reply_is_dropped(make_rig: Any) -> None:
    """What is left fits our buffer: no write stalls, and still the connection must not stay for ever."""
    rig = make_rig(write_timeout=0.3, idle_timeout=0.3)
    rig.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted sockets inherit it

    async def answer(*_: object) -> Any:
        return rig.line("x" * 50_000, done=True)

    rig.standin.answer = answer
    with rig.raw(receive_buffer=4096) as client:
        client.post(BODY)
        poll = select.poll()
        poll.register(client.sock, 0)
        assert poll.poll(10_000), "the connection is still open"
    rig.wait_idle()


def test_big_request_is_decoded_beside_the_loop(rig: Any) -> None:
    prompt = "y" * 1_000_000
    reply = rig.http.post("/api/generate", json={"model": "m", "prompt": prompt, "stream": False})
    assert reply.status_code == 200
    assert rig.standin.requests[0].prompt == prompt


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (BODY, [(b"HTTP/1.1 200", b'"a"'), (b'" b"',), (b'" c"',), (b'"done":true', b"0\r\n\r\n")]),
        (b'{"model":"m","prompt":"x","stream":false}', [(b"HTTP/1.1 200", b'"a b c"')]),
    ],
    ids=["stream", "whole"],
)
def test_what_is_there_together_is_sent_together(
    rig: Any, body: bytes, sent: list[tuple[bytes, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head with what comes first, the end with what comes last: each write wakes the client once more."""
    writes: list[bytes] = []
    write = asyncio.StreamWriter.write

    def noted(self: asyncio.StreamWriter, data: bytes) -> None:
        writes.append(data)
        write(self, data)

    monkeypatch.setattr(asyncio.StreamWriter, "write", noted)
    assert rig.http.post("/api/generate", content=body).status_code == 200
    assert [all(mark in data for mark in marks) for data, marks in zip(writes, sent, strict=True)] == [True] * len(sent)


def test_a_last_line_is_not_lost_when_the_pipeline_fails_behind_it(rig: Any) -> None:
    async def stream() -> Items:
        yield rig.line("a")
        yield rig.line(done=True)
        raise RuntimeError("too late")

    rig.standin.answer = streaming(stream)
    assert [line["done"] for line in lines_of(rig)] == [False, True]
