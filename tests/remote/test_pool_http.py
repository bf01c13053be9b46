"""The pool before servers on true sockets: what they have, how they fail, and that they are well again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pooling import wanted
from upstream import Fault, Upstream as Scripted

from remuda.config import Config
from remuda.errors import EngineError, Unavailable
from remuda.model import parse_name
from remuda.remote import Passage
from remuda_remote.client import UpstreamClient
from remuda_remote.member import Member, members
from remuda_remote.ollama.dialect import OllamaDialect
from remuda_remote.pool import Lease, Pool
from remuda_remote.relay import Relayed, asking, relay
from remuda_remote.upstream import Upstream

pytestmark = pytest.mark.anyio

GENERATE = "POST /api/generate"
STORY = Passage(path="/api/generate", body=b'{"model":"tiny","prompt":"A story"}', model="tiny", whole=False)
TINY = parse_name("tiny")


@dataclass
class Two:
    a: Scripted
    b: Scripted

    @asynccontextmanager
    async def pool(self, **remote: Any) -> AsyncGenerator[Pool]:
        table = {name: {"url": each.url, "first_byte_timeout": 5.0} for name, each in (("a", self.a), ("b", self.b))}
        config = msgspec.convert({"upstreams": table, "remote": {"probe_interval": 3600.0, **remote}}, Config)

        def make(member: Member) -> Upstream:
            client = UpstreamClient(member, max_line=config.remote.max_line)
            return Upstream(member, client, OllamaDialect(member, client, config.remote))

        pool = Pool(make)
        pool.configure(config, members(config, {}))
        pool.start()
        try:
            await pool.refresh()
            assert [upstream.offer(TINY) is not None for upstream in pool.upstreams] == [True, True]
            yield pool
        finally:
            await pool.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[Two]:
    with Scripted(("tiny:latest", "only-a:1b")) as a, Scripted(("tiny:latest",), loaded=("tiny:latest",)) as b:
        yield Two(a, b)


@pytest.fixture
def two(servers: Two) -> Iterator[Two]:
    for each in (servers.a, servers.b):
        each.start()
        each.heal()
        each.requests.clear()
    servers.a.loaded[:], servers.b.loaded[:] = [], ["tiny:latest"]
    yield servers
    for each in (servers.a, servers.b):
        each.start()
        each.heal()


async def run(pool: Pool, **want: Any) -> Lease[Relayed]:
    async def attempt(upstream: Upstream, there: str) -> Relayed:
        return await relay(upstream, there, STORY, "id")

    return await pool.run(wanted("tiny", **want), attempt)


async def story(pool: Pool, **want: Any) -> str:
    """Who tells it, to its end."""
    async with aclosing(await run(pool, **want)) as lease:
        told = b"".join([piece async for piece in lease.value])
        assert told.count(b"\n") == 5
        return lease.upstream.name


@pytest.mark.parametrize(
    ("body", "there", "asked"),
    [
        (b'{"prompt": "Hi",  "model":"tiny"}', "tiny", b'{"prompt": "Hi",  "model":"tiny"}'),
        (b'{"prompt": "Hi", "model":"tiny"}', "other", b'{"prompt":"Hi","model":"other"}'),
        (b'{"name":"tiny"}', "other", b'{"name":"other"}'),
        (b'{"model":"tiny","Model":"secret","NAME":"secret"}', "tiny", b'{"model":"tiny"}'),
        (b'{"model":"tiny","\\u004dodel":"secret"}', "other", b'{"model":"other"}'),
    ],
)
async def test_a_request_asks_for_one_model_only(body: bytes, there: str, asked: bytes) -> None:
    assert asking(body, "tiny", there) == asked


async def test_what_they_have_and_what_is_in_memory(two: Two) -> None:
    async with two.pool() as pool:
        a, b = pool.upstreams
        assert sorted(str(offer.name) for offer in a.offers.values()) == ["only-a:1b", "tiny:latest"]
        assert (a.loaded, list(b.loaded)) == ({}, [TINY.key])
        assert [await story(pool) for _ in range(3)] == ["b", "b", "b"]
        assert await story(pool, asked=("a",)) == "a"


@pytest.mark.parametrize(
    "fault", [Fault(refuse=True), Fault(status=502, body=b"<html>"), Fault(cut=0), Fault(garbage=True)]
)
async def test_a_failure_before_the_first_line_is_seen_by_nobody(two: Two, fault: Fault) -> None:
    two.b.fail(GENERATE, fault, always=True)
    async with two.pool() as pool:
        assert await story(pool) == "a"
        assert [upstream.breaker.row for upstream in pool.upstreams] == [0, 1]
        assert [upstream.running for upstream in pool.upstreams] == [0, 0]


async def test_a_server_that_dies_is_left_alone_and_used_again_once_it_answers_its_probe(two: Two) -> None:
    async with two.pool(failures=2) as pool:
        two.b.stop()
        assert [await story(pool) for _ in range(3)] == ["a", "a", "a"]
        b = pool.upstreams[1]
        assert b.breaker.health(pool._clock()) == "down"
        with pytest.raises(Unavailable, match="'b' is left alone after 2 failures"):
            await story(pool, asked=("b",))
        assert await pool.look(TINY)
        await pool.renew(b)
        assert b.breaker.health(pool._clock()) == "down"
        two.b.start()
        await pool.renew(b)
        assert b.breaker.health(pool._clock()) == "up"
        assert await story(pool, asked=("b",)) == "b"


async def test_five_failures_and_it_is_spared(two: Two) -> None:
    two.a.fail(GENERATE, Fault(status=500), always=True)
    async with two.pool() as pool:
        for _ in range(5):
            with pytest.raises(EngineError):
                await story(pool, asked=("a",))
        asked = two.a.count(GENERATE)
        with pytest.raises(Unavailable, match="after 5 failures"):
            await story(pool, asked=("a",))
        assert two.a.count(GENERATE) == asked == 5


async def test_a_busy_server_is_spared_as_long_as_it_says(two: Two) -> None:
    two.b.fail(GENERATE, Fault(status=503, headers={"Retry-After": "30"}, body=b'{"error":"busy"}'))
    async with two.pool() as pool:
        assert [await story(pool) for _ in range(3)] == ["a", "a", "a"]
        assert two.b.count(GENERATE) == 1
        with pytest.raises(Unavailable, match="busy") as caught:
            await story(pool, asked=("b",))
        assert 25 <= caught.value.retry_after <= 30
        assert two.b.count(GENERATE) == 1


async def test_a_hedge_beside_a_server_that_stalls_closes_the_connection_to_it(two: Two) -> None:
    gone = two.b.gone_away
    two.b.fail(GENERATE, Fault(stall="head"))
    async with two.pool(hedge=0.02) as pool:
        assert await story(pool) == "a"
        await two.b.left(gone + 1)
        assert [upstream.breaker.row for upstream in pool.upstreams] == [0, 0]
        assert [upstream.running for upstream in pool.upstreams] == [0, 0]


async def test_a_cut_after_the_first_line_goes_nowhere_else(two: Two) -> None:
    two.b.fail(GENERATE, Fault(cut=2, clean=True))
    async with two.pool() as pool:
        lease = await run(pool)
        lease.value.lease = lease
        last = [piece async for piece in lease.value][-1]
        await lease.value.aclose()
        assert b'"error"' in last
        assert two.a.count(GENERATE) == 0
        assert [upstream.breaker.row for upstream in pool.upstreams] == [0, 1]
        assert [upstream.running for upstream in pool.upstreams] == [0, 0]
