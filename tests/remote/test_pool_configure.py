"""A configuration that is read anew, while requests run and wait."""

from __future__ import annotations

import asyncio

import pytest
from pooling import Pools, Server, broke, listed, spin, upstreams, wanted

from remuda.errors import BadRequest, ConfigError, ModelNotFound, UpstreamError
from remuda.model import parse_name
from remuda_remote.member import Member
from remuda_remote.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_an_upstream_whose_settings_are_as_before_goes_on_as_it_is() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m"], b=["m"])
    before, lease = list(pools.pool.upstreams), await pools.run(wanted())
    pools.configure({"upstreams": upstreams("b", "a"), "remote": {"failures": 1, "attempts": 1}})
    assert list(pools.pool.upstreams) == before[::-1]
    assert pools.running == {"b": 0, "a": 1}
    lease.failed(broke())
    await lease.aclose()
    assert pools["a"].breaker.health(pools.time.now) == "down"
    with pytest.raises(UpstreamError):
        await pools.run(wanted(), broke("b"))
    assert pools.servers["a"].remote.attempts == 1


async def test_settings_that_make_no_sense_change_nothing() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m"])
    before, make = list(pools.pool.upstreams), pools.pool._make

    def fails(member: Member) -> Upstream:
        if member.name == "d":
            raise ConfigError("upstreams.d.ca_file: it cannot be read")
        return make(member)

    pools.pool._make = fails
    with pytest.raises(ConfigError, match="ca_file"):
        pools.configure({"upstreams": upstreams("b", "c", "d"), "remote": {"attempts": 1}})
    assert list(pools.pool.upstreams) == before
    assert await pools.once(wanted()) == "a"


async def test_one_that_is_gone_is_closed_after_its_last_request() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m", "only"], b=["m"])
    lease = await pools.run(wanted())
    pools.configure({"upstreams": upstreams("b")})
    await spin()
    assert lease.upstream.name == "a"
    assert not pools.servers["a"].closed
    assert not pools.pool.offers(parse_name("only"))
    await lease.aclose()
    await spin()
    assert pools.servers["a"].closed
    assert not pools.servers["b"].closed
    assert await pools.once(wanted()) == "b"


async def test_one_that_is_gone_is_closed_after_its_last_deed() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m"], b=["m"])
    with pools.pool.kept(["a"]) as before:
        assert [upstream.name for upstream in before] == ["a", "b"]
        lease = await pools.run(wanted(asked=("a",)))
        pools.configure({"upstreams": {}})
        await lease.aclose()
        await spin()
        assert (pools.servers["a"].closed, pools.servers["b"].closed) == (False, True)
    await spin()
    assert pools.servers["a"].closed


async def test_one_that_is_idle_is_closed_at_once() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m"], b=["m"])
    pools.configure({"upstreams": upstreams("b")})
    await spin()
    assert pools.servers["a"].closed


async def test_other_settings_make_another_upstream_which_knows_what_the_server_has() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m", "n"], b=["m"])
    old = pools["a"]
    pools.configure({"upstreams": upstreams("a", deny=["n*"]) | {"b": {"url": "http://elsewhere.test"}}})
    assert pools["a"] is not old
    assert pools.pool.offers(parse_name("m"))
    assert not pools.pool.offers(parse_name("n"))
    assert not pools["b"].offers


async def test_those_who_wait_get_places_that_are_new_and_are_told_when_there_are_none_any_more() -> None:
    pools = Pools({"upstreams": upstreams("a", parallel=1)}, a=["m", "n"])
    lease = await pools.run(wanted())
    tasks = [asyncio.create_task(pools.run(want)) for want in (wanted(), wanted("n"), wanted("n", asked=("a",)))]
    await spin()
    pools.servers["b"] = Server()
    pools.configure({"upstreams": upstreams("b", models={"m": "other"})})
    served = await asyncio.wait_for(tasks[0], 5)
    assert (served.upstream.name, served.offer.there) == ("b", "other")
    with pytest.raises(ModelNotFound):
        await asyncio.wait_for(tasks[1], 5)
    with pytest.raises(BadRequest, match="allowed: b"):
        await asyncio.wait_for(tasks[2], 5)
    await served.aclose()
    await lease.aclose()


async def test_more_places_are_given_out_at_once() -> None:
    pools = Pools({"upstreams": upstreams("a", parallel=1)}, a=["m"])
    lease = await pools.run(wanted())
    task = asyncio.create_task(pools.run(wanted()))
    await spin()
    pools.configure({"upstreams": upstreams("a", parallel=2)})
    other = await asyncio.wait_for(task, 5)
    await other.aclose()
    await lease.aclose()
    await spin()
    assert [upstream.running for upstream in pools.made] == [0, 0]


async def test_a_failover_goes_by_the_new_settings() -> None:
    pools = Pools({"upstreams": upstreams("a", "b", "c")}, a=["m"], b=["m"], c=["m"])

    async def meanwhile() -> None:
        pools.configure({"upstreams": upstreams("a", "c")})
        raise broke("a")

    assert await pools.once(wanted(), meanwhile, None) == "c"


async def test_what_comes_new_to_a_running_pool_is_watched_and_what_goes_is_not() -> None:
    pools = Pools({"upstreams": upstreams("a")}, {"a": Server("m"), "b": Server("n")})
    pools.pool.start()
    assert await pools.pool.look(parse_name("m"))
    pools.configure({"upstreams": upstreams("b")})
    assert await pools.pool.look(parse_name("n"))
    await spin()
    assert pools.servers["a"].closed
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "watch a"]
    await pools.pool.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("watch")]
    assert pools.servers["b"].closed


async def test_a_model_learned_later_serves_those_who_wait() -> None:
    pools = Pools({"upstreams": upstreams("a", "b", parallel=1)}, a=["m"], b=["x"])
    lease = await pools.run(wanted())
    task = asyncio.create_task(pools.run(wanted()))
    await spin()
    pools["b"].learn([listed("m")], None)
    pools.pool._news(pools["b"])
    other = await asyncio.wait_for(task, 5)
    assert other.upstream.name == "b"
    await other.aclose()
    await lease.aclose()
