"""What `remuda_remote.client` sends, and how it reads replies that are in order."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.metadata import version

import anyio
import pytest
from blockbuster import blockbuster_ctx
from upstream import Fault, Upstream
from upstream_clients import ASK, KEY, client_of, read_lines

from remuda_remote.client import UpstreamClient, said_in
from remuda_remote.faults import Broke, Refused, TooSlow, Unreachable

pytestmark = pytest.mark.anyio


async def test_a_stream_comes_line_by_line(up: Upstream) -> None:
    found: list[bytes] = []
    async with client_of(up) as client:
        await read_lines(client, found, request_id="r-1")
    lines = [json.loads(line) for line in found]
    assert [line["response"] for line in lines] == [*up.words, ""]
    assert lines[-1]["done"] is True
    assert up.requests[0].body == ASK
    assert up.requests[0].headers == {
        "host": f"127.0.0.1:{up.port}",
        "user-agent": f"remuda/{version('remuda')}",
        "accept": "*/*",
        "x-remuda-hops": "1",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(ASK)),
        "x-request-id": "r-1",
        "authorization": f"Bearer {KEY}",
    }


async def test_a_first_line_is_here_before_the_second_is_made(up: Upstream) -> None:
    up.fail("*", Fault(stall=1))
    async with client_of(up) as client:
        reply = await client.send("POST", "/api/generate", ASK)
        async with aclosing(reply.lines()) as blocks:
            assert json.loads(await anext(blocks))["response"] == up.words[0]
        assert (reply.upstream, reply.status) == ("one", 200)
        assert reply.headers["content-type"] == "application/x-ndjson"
        await reply.aclose()
        await up.left()


async def test_requests_without_a_body_say_nothing_of_its_type(up: Upstream) -> None:
    async with client_of(up) as client:
        assert json.loads(await client.ask("GET", "/api/version"))["version"]
        assert (await client.send("HEAD", "/")).status == 200
        await (await client.send("POST", "/api/copy", headers={"Accept": "application/json"})).aclose()
        assert json.loads(await client.ask("POST", "/api/show", {"model": "tiny"}))["details"]
    for seen in up.requests[:3]:
        assert "content-type" not in seen.headers
        assert "transfer-encoding" not in seen.headers
    assert up.requests[2].headers["accept"] == "application/json"
    assert up.requests[3].headers["content-type"] == "application/json"


async def test_headers_of_the_configuration_count_most(up: Upstream) -> None:
    async with client_of(up) as client:
        await (await client.send("GET", "/", headers={"authorization": "Bearer other", "accept": "a/b"})).aclose()
    assert up.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert up.requests[0].headers["accept"] == "a/b"


async def test_a_path_in_the_url_stays(up: Upstream) -> None:
    up.extra["GET /deep/er/api/tags"] = (200, {"here": True})
    async with client_of(f"{up.url}/deep/er") as client:
        assert json.loads(await client.ask("GET", "/api/tags")) == {"here": True}


async def test_connections_are_kept_once_a_body_is_read(up: Upstream) -> None:
    before = up.connections
    async with client_of(up) as client:
        for _ in range(3):
            await read_lines(client, [])
            await client.ask("GET", "/api/tags")
        assert up.connections == before + 1
        reply = await client.send("POST", "/api/generate", ASK.replace(b"tiny", b"none"))
        assert (reply.status, said_in(await reply.read(1000))) == (404, "model 'none' not found")
        await reply.aclose()
        await client.ask("GET", "/api/tags")
    assert up.connections == before + 1
    assert up.requests[-1].turn == 7


async def test_many_at_a_time(up: Upstream) -> None:
    up.delay = 0.02
    found: list[list[bytes]] = [[] for _ in range(30)]
    async with client_of(up) as client, anyio.create_task_group() as group:
        for each in found:
            group.start_soon(read_lines, client, each)
    assert {len(each) for each in found} == {5}


async def test_a_stale_connection_is_no_failure(up: Upstream) -> None:
    async with client_of(up) as client:
        await client.ask("GET", "/api/tags")
        for _ in range(3):
            before = up.connections
            up.stale_turns = 1
            found: list[bytes] = []
            await read_lines(client, found)
            assert (len(found), up.stale_turns, up.connections) == (5, 0, before + 1)
            await client.ask("GET", "/api/tags")


async def test_idle_connections_that_are_closed_are_no_failure(up: Upstream) -> None:
    async with client_of(up) as client:
        for _ in range(5):
            up.close_idle()
            await read_lines(client, [])


async def test_a_fresh_connection_that_is_closed_is_one(up: Upstream) -> None:
    up.fail("*", Fault(refuse=True))
    async with client_of(up) as client:
        with pytest.raises(Broke, match="upstream 'one' closed the connection before it answered"):
            await client.send("POST", "/api/generate", ASK)
    assert up.count() == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"busy"}', "busy"),
        (b'{"error":{"message":"no such model","type":"x","code":null}}', "no such model"),
        (b'{"error":{"message":null}}', ""),
        (b'{"error":7}', ""),
        (b'{"message":"x"}', ""),
        (b"<html>", ""),
        (b"\xff\xfe", ""),
        (b'{"error":"' + b"x" * 5000 + b'"}', "x" * 2000),
    ],
)
async def test_what_an_error_says(body: bytes, said: str) -> None:
    assert said_in(body) == said


async def test_ask_raises_what_was_refused(up: Upstream) -> None:
    up.fail("*", Fault(status=503, headers={"Retry-After": "3"}, body=b'{"error":"busy"}'))
    async with client_of(up) as client:
        with pytest.raises(Refused) as refused:
            await client.ask("POST", "/api/show", {"model": "tiny"})
    fault = refused.value
    assert (str(fault), fault.status, fault.said) == ("upstream 'one' answered 503: busy", 503, "busy")
    assert (fault.pause, fault.body) == (3.0, b'{"error":"busy"}')


async def test_a_body_is_read_whole_or_not_at_all(up: Upstream) -> None:
    async with client_of(up) as client:
        whole = await client.ask("GET", "/api/tags")
        assert await client.ask("GET", "/api/tags", limit=len(whole)) == whole
        with pytest.raises(Broke, match=f"answered with more than {len(whole) - 1} bytes"):
            await client.ask("GET", "/api/tags", limit=len(whole) - 1)
        up.fail("*", Fault(flood=True))
        with pytest.raises(Broke, match="answered with more than 100000 bytes"):
            await client.ask("GET", "/api/tags", limit=100_000)


async def test_a_large_body_goes_as_it_is(up: Upstream) -> None:
    body = json.dumps({"model": "tiny", "prompt": "x" * 3_000_000}).encode()
    async with client_of(up) as client:
        await read_lines(client, [], body)
    assert up.requests[0].body == body
    assert up.requests[0].headers["content-length"] == str(len(body))


# --- bodies that are iterated


async def test_a_blob_goes_piece_by_piece(up: Upstream) -> None:
    pieces = [bytes([number]) * 50_000 for number in range(20)]
    digest = f"sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}"

    async def blob() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with client_of(up) as client:
        for headers in ({}, {"Content-Length": "1000000"}):
            up.blobs.clear()
            reply = await client.send("POST", f"/api/blobs/{digest}", blob(), headers=headers)
            await reply.aclose()
            assert reply.status == 201
    assert up.blobs[digest] == b"".join(pieces)
    chunked, sized = up.requests
    assert (chunked.headers["transfer-encoding"], sized.headers["content-length"]) == ("chunked", "1000000")
    assert chunked.headers["content-type"] == sized.headers["content-type"] == "application/octet-stream"


async def test_a_long_upload_is_not_too_slow(up: Upstream) -> None:
    async def slow(last: float) -> AsyncIterator[bytes]:
        for _ in range(3):
            await anyio.sleep(0.04)
            yield b"x"
        await anyio.sleep(last)  # whoever sends it may be slow, which is not the upstream's fault

    async with client_of(up, first_byte_timeout=0.1) as client:
        reply = await client.send("POST", "/api/blobs/x", slow(0.12))
        assert b"digest mismatch" in await reply.read(1000)
        await reply.aclose()
        up.fail("*", Fault(stall="head"))
        with pytest.raises(TooSlow):
            await client.send("POST", "/api/blobs/x", slow(0))


async def test_what_a_body_raises_comes_out(up: Upstream) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise LookupError("the file is gone")

    async with client_of(up) as client:
        with pytest.raises(LookupError, match="the file is gone"):
            await client.send("POST", "/api/blobs/x", broken())
    assert up.count() == 0


async def test_a_reply_before_the_body_is_over_is_a_reply(up: Upstream) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200:
            sent += 1
            yield b"x" * 10_000
        # More than any socket holds would only show how fast the other end throws it away.
        await asyncio.Event().wait()

    # For this path alone: what the test before this one broke off may only be met now.
    up.fail("POST /api/blobs/early", Fault(status=413, body=b'{"error":"too large"}', early=True))
    async with client_of(up) as client:
        body = endless()
        with anyio.fail_after(10):
            reply = await client.send("POST", "/api/blobs/early", body)
            assert (reply.status, said_in(await reply.read(1000))) == (413, "too large")
            await reply.aclose()
        await body.aclose()
    assert sent > 0


async def test_nobody_reads_a_body_and_it_stops() -> None:
    """Neither does it pile up here nor hold up its end."""
    sent = 0
    stopped = False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent, stopped
        try:
            while True:
                sent += 1
                yield b"x" * 65536
        finally:
            stopped = True

    with Upstream() as up:
        async with client_of(up) as client:
            up.fail("*", Fault(deaf=True))
            body = endless()
            with pytest.raises(TooSlow):
                await client.send("POST", "/api/blobs/x", body, first_byte=0.15)
            await body.aclose()
            assert stopped
            assert 0 < sent < 400  # 25 MiB: what the system holds for the two sockets


# --- bounds


async def test_a_reader_that_stops_holds_up_the_upstream(up: Upstream) -> None:
    words, up.words = up.words, ["word " * 200] * 60_000
    try:
        async with client_of(up) as client:
            reply = await client.send("POST", "/api/generate", ASK)
            async with aclosing(reply.lines()) as blocks:
                await anext(blocks)
                gc.collect()
                tracemalloc.start()
                await anyio.sleep(0.2)
                held = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                assert up.running == 1
            await reply.aclose()
            await up.left()
    finally:
        up.words = words
    assert held < 1024 * 1024


async def test_closing_in_the_middle_is_seen_at_once(up: Upstream) -> None:
    up.fail("*", Fault(stall=2), always=True)
    async with client_of(up) as client:
        reply = await client.send("POST", "/api/generate", ASK)
        before = anyio.current_time()
        await reply.aclose()
        await up.left(1)
        assert anyio.current_time() - before < 0.5
        with anyio.move_on_after(0.05) as scope:
            await read_lines(client, [])
        assert scope.cancelled_caught
        await up.left(2)
        up.heal()
        up.fail("*", Fault(stall="head"))
        with anyio.move_on_after(0.05):
            await client.send("POST", "/api/generate", ASK)
        await up.left(3)


async def test_closing_the_client_ends_what_runs(up: Upstream) -> None:
    up.fail("*", Fault(stall=1), Fault(stall="head"))
    async with client_of(up) as client, anyio.create_task_group() as group:
        reply = await client.send("POST", "/api/generate", ASK)

        async def waits() -> None:
            with pytest.raises(Unreachable, match="no longer in use"):
                await client.send("POST", "/api/generate", ASK)

        group.start_soon(waits)
        await up.requested(n=2)
        await client.close()
        await up.left(2)
        await reply.aclose()
        with pytest.raises(Unreachable, match="no longer in use"):
            await client.ask("GET", "/api/tags")


async def test_nothing_blocks_the_loop(up: Upstream) -> None:
    async with client_of(up) as client:
        with blockbuster_ctx(["remuda_remote", "aiohttp"]):
            await client.ask("GET", "/api/tags")
            await read_lines(client, [])


async def test_a_client_that_was_never_used_closes() -> None:
    async with client_of("http://127.0.0.1:1") as client:
        assert isinstance(client, UpstreamClient)
