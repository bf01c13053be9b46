"""Blobs that are brought to several upstreams at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress

import pytest
from managing import Server, cleared
from upstream import Fault, Upstream

from remuda.config import UpstreamConfig
from remuda.errors import BadRequest, RemudaError, UpstreamError, UpstreamTimeout
from remuda_remote.blobs import has_blob, put_blob
from remuda_remote.client import UpstreamClient
from remuda_remote.member import Member

pytestmark = pytest.mark.anyio

PIECE = bytes(range(256)) * 256
BLOB = PIECE * 20 + b"end"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
PATH = f"/api/blobs/{DIGEST}"


class Source:
    """What a client sends, in pieces, the empty one that some servers end with included."""

    def __init__(self, data: bytes = BLOB, *, error: Exception | None = None, held: bool = False) -> None:
        self.data, self.error, self.held = data, error, held
        self.taken = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            for start in range(0, len(self.data), len(PIECE)):
                self.taken += 1
                yield self.data[start : start + len(PIECE)]
            if self.error is not None:
                raise self.error
            if self.held:
                await asyncio.Event().wait()
            yield b""
        finally:
            self.closed = True


@pytest.fixture(scope="module")
def scripted() -> Iterator[list[Upstream]]:
    with Upstream() as a, Upstream() as b, Upstream() as c:
        yield [a, b, c]


@pytest.fixture
async def herd(scripted: list[Upstream]) -> AsyncGenerator[list[Server], None]:
    for each in scripted:
        cleared(each)
    herd = [Server(*each, stall_timeout=0.3, first_byte_timeout=0.3) for each in zip("abc", scripted, strict=True)]
    yield herd
    for server in herd:
        await server.client.close()


async def put(herd: list[Server], source: Callable[[], AsyncIterator[bytes]], size: int | None = len(BLOB)) -> None:
    await put_blob(DIGEST, size, source, herd, ("a", "b", "c"))


def have(herd: list[Server]) -> list[bool]:
    return [server.scripted.blobs.get(DIGEST) == BLOB for server in herd]


async def test_all_must_have_it(herd: list[Server]) -> None:
    for server in herd:
        assert not await has_blob(DIGEST, herd, "abc")
        server.scripted.blobs[DIGEST] = BLOB
    assert await has_blob(DIGEST, herd, "abc")
    herd[1].scripted.blobs.clear()
    assert await has_blob(DIGEST, herd, "ac")
    assert herd[1].scripted.count(f"HEAD {PATH}") == 4


async def test_nobody_knows_what_one_has_that_does_not_say(herd: list[Server]) -> None:
    herd[0].scripted.stop()
    herd[2].scripted.fail("HEAD *", Fault(status=500))
    with pytest.raises(UpstreamError) as caught:
        await has_blob(DIGEST, herd, "abc")
    assert "upstream 'a' " in caught.value.message
    assert "upstream 'c' answered 500" in caught.value.message
    with pytest.raises(UpstreamError, match=r"^upstream 'a' "):
        await put(herd, Source())


@pytest.mark.parametrize("size", [len(BLOB), None])
async def test_each_gets_all_of_it(herd: list[Server], size: int | None) -> None:
    source = Source()
    await put(herd, source, size)
    assert (have(herd), source.closed) == ([True] * 3, True)
    for server in herd:
        sent = server.scripted.await_request(f"POST {PATH}").headers
        assert sent["content-type"] == "application/octet-stream"
        assert sent.get("content-length") == (None if size is None else str(size))


async def test_an_empty_one(herd: list[Server]) -> None:
    empty = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    await put_blob(empty, 0, Source(b""), herd, "ab")
    assert herd[0].scripted.blobs == herd[1].scripted.blobs == {empty: b""}


async def test_who_has_it_is_left_alone(herd: list[Server]) -> None:
    herd[1].scripted.blobs[DIGEST] = BLOB
    await put(herd, Source())
    assert have(herd) == [True] * 3
    assert herd[1].scripted.count("POST *") == 0
    source = Source()
    await put(herd, source)
    assert source.taken == 0


async def test_who_answers_early_is_done(herd: list[Server]) -> None:
    herd[1].scripted.fail("POST *", Fault(status=200, early=True))
    await put(herd, Source())
    assert have(herd) == [True, False, True]
    for server in herd:
        server.scripted.blobs.clear()
        server.scripted.fail("POST *", Fault(status=200, early=True))
    await asyncio.wait_for(put(herd, Source(held=True), None), 5)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(status=507, body=b'{"error":"no space left"}'), "upstream 'b' answered 507: no space left"),
        (Fault(status=400, body=b'{"error":"no such blob"}', early=True), "upstream 'b': no such blob"),
        (Fault(refuse=True), "upstream 'b' "),
        (Fault(stall="head"), "upstream 'b' gave no answer to the blob"),
    ],
)
async def test_who_fails_fails_it_all(herd: list[Server], fault: Fault, text: str) -> None:
    herd[1].scripted.fail("POST *", fault)
    source = Source()
    with pytest.raises(RemudaError) as caught:
        await put(herd, source)
    assert caught.value.message.startswith(text)
    assert source.closed
    assert not have(herd)[1]


async def test_the_slowest_sets_the_pace(herd: list[Server]) -> None:
    """Somebody who takes nothing holds up the source, and for so long only as the configuration allows."""
    herd[1].scripted.fail("POST *", Fault(deaf=True))
    source = Source(PIECE * 1000)
    with pytest.raises(UpstreamTimeout, match=r"^upstream 'b' takes no more of the blob"):
        await put(herd, source, len(source.data))
    assert source.taken < 500
    assert source.closed
    assert have(herd) == [False] * 3


@pytest.mark.parametrize(("size", "which"), [(len(BLOB) - 1, "more"), (len(BLOB) + 1, "fewer"), (0, "more")])
async def test_a_size_that_is_not_the_one(herd: list[Server], size: int, which: str) -> None:
    source = Source()
    with pytest.raises(BadRequest, match=rf"^the body has {which} bytes than Content-Length says \({size}\)$"):
        await put(herd, source, size)
    assert (have(herd), source.closed) == ([False] * 3, True)


async def test_a_source_that_breaks_off(herd: list[Server]) -> None:
    with pytest.raises(KeyError, match="the client left"):
        await put(herd, Source(error=KeyError("the client left")), len(BLOB) * 2)
    for server in herd:
        assert server.scripted.blobs == {}


class Raw:
    """Has no blob, and keeps what is sent to it, byte for byte."""

    def __init__(self) -> None:
        self.came = b""
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.came += data
                if data.startswith(b"HEAD "):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        if b"POST " in self.came:
            self.closed.set()


async def test_what_breaks_off_without_a_size_does_not_look_whole(herd: list[Server]) -> None:
    raw = Raw()
    async with await asyncio.start_server(raw.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        config = UpstreamConfig(url=url)
        herd[0].member = Member(name="a", group="a", kind="ollama", url=url, config=config, headers={})
        herd[0].client = UpstreamClient(herd[0].member, max_line=1)
        with pytest.raises(KeyError, match="the client left"):
            await put_blob(DIGEST, None, Source(error=KeyError("the client left")), herd, "a")
        await raw.closed.wait()
        await herd[0].client.close()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in raw.came
    assert len(raw.came) > len(PIECE)
    assert not raw.came.endswith(b"\r\n0\r\n\r\n")


async def test_cancelling_closes_all(herd: list[Server]) -> None:
    source = Source(held=True)
    work = asyncio.create_task(put(herd, source, len(BLOB) * 2))
    while source.taken < 21:
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (have(herd), source.closed) == ([False] * 3, True)
