"""Probes of one upstream: what it has, and how it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from pooling import Pools, Server, broke, refused, spin, upstreams, wanted

from remuda.errors import NotFound, Unavailable, UpstreamError
from remuda.model import parse_name
from remuda_remote import watch
from remuda_remote.watch import Watch

pytestmark = pytest.mark.anyio


class Watched(Pools):
    def __init__(self, server: Server, **settings: object) -> None:
        remote = {"failures": 2, "probe_interval": 3600.0}
        super().__init__({"upstreams": upstreams("a", **settings), "remote": remote}, {"a": server})

    @property
    def state(self) -> str:
        return self["a"].state(self.time.now)

    @property
    def watch(self) -> Watch:
        return self.pool._watches[self["a"]]

    async def probe(self, seconds: float = 2.0) -> None:
        """The next probe, after so many seconds."""
        self.time.now += seconds
        await asyncio.wait((self.watch.again(),), timeout=5)
        await spin()


@asynccontextmanager
async def watched(server: Server, **settings: object) -> AsyncGenerator[Watched]:
    pools = Watched(server, **settings)
    assert pools.state == "unknown"
    pools.pool.start()
    await spin()
    try:
        yield pools
    finally:
        await pools.pool.close()


async def test_the_first_probe_is_at_once_and_tells_what_there_is() -> None:
    server = Server("m", "n")
    server.memory = ["n"]
    async with watched(server) as pools:
        assert (server.probes, pools.state) == (1, "up")
        assert pools.pool.offers(parse_name("m"))
        assert {model.name for model in pools["a"].loaded.values()} == {"n:latest"}


async def test_it_is_asked_again_and_again() -> None:
    server = Server("m")
    pools = Pools({"upstreams": upstreams("a"), "remote": {"probe_interval": 0.001}}, {"a": server})
    pools.pool.start()
    async with asyncio.timeout(5):
        while server.probes < 5:
            await asyncio.sleep(0)
    await pools.pool.close()


async def test_when_the_cooldown_is_over_it_is_asked_without_waiting_for_the_usual_time() -> None:
    server = Server("m")
    settings = {"upstreams": upstreams("a"), "remote": {"probe_interval": 3600.0, "failures": 1, "cooldown": 0.02}}
    pools = Pools(settings, {"a": server}, clock=time.monotonic)
    pools.pool.start()
    await pools.pool.refresh()
    server.fault = broke("a")
    async with asyncio.timeout(5):
        await pools.pool.renew(pools["a"])
        while server.probes < 4:
            await asyncio.sleep(0)
        server.fault = None
        while pools["a"].breaker.health(time.monotonic()) != "up":
            await asyncio.sleep(0)
    await pools.pool.close()


async def test_probes_never_overlap() -> None:
    server = Server("m")
    server.open = asyncio.Event()
    async with watched(server) as pools:
        first = pools.watch.again()
        assert pools.watch.again() is first
        await spin()
        assert server.probes == 1
        server.open.set()
        await asyncio.wait((first,), timeout=5)
        await spin()
        assert server.probes == 1


async def test_what_was_changed_is_asked_for_after_that() -> None:
    server = Server("m")
    server.open = asyncio.Event()
    async with watched(server) as pools:
        renewed = asyncio.create_task(pools.pool.renew(pools["a"]))
        await spin()
        server.open.set()
        await renewed
        assert server.probes == 2
        await pools.pool.renew(pools["a"])
        assert server.probes == 3
        await pools.pool.refresh()
        assert server.probes == 3
        pools.time.now += 2.0
        await pools.pool.refresh()
        assert server.probes == 4


async def test_probes_that_fail_take_it_down_and_one_that_passes_brings_it_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server("m")
    async with watched(server) as pools:
        server.fault = broke("a")
        with caplog.at_level(logging.INFO, "remuda.remote"):
            await pools.probe()
            assert pools.state == "up"
            await pools.probe()
            assert (pools.state, pools["a"].error) == ("down", "upstream 'a' broke off")
            with pytest.raises(Unavailable, match="after 2 failures"):
                await pools.run(wanted())
            await pools.probe()
            server.fault = None
            await pools.probe()
        assert (pools.state, pools["a"].error) == ("up", "")
        assert [record.getMessage().split(";")[0] for record in caplog.records] == [
            "upstream 'a' is left alone for 10 s after 2 failures in a row",
            "upstream 'a' is back",
        ]
        assert pools["a"].failures == 0


async def test_one_that_was_never_there_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("m")
    server.fault = refused(401, "wrong key")
    with caplog.at_level(logging.INFO, "remuda.remote"):
        async with watched(server) as pools:
            assert [record.getMessage() for record in caplog.records] == [
                "upstream 'a' answered 401: wrong key, so it is not known what it has"
            ]
            await pools.probe()
            assert pools.state == "down"
            await pools.probe()
    assert len(caplog.records) == 2


async def test_one_without_a_list_is_used_for_what_the_settings_name(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.fault = refused(404)
    async with watched(server, models={"m": "there"}) as pools:
        await pools.probe()
        await pools.probe()
        assert (pools.state, pools["a"].error) == ("unknown", "upstream 'a' answered 404: no")
        assert await pools.once(wanted()) == "a"
        assert (pools.state, pools["a"].error) == ("up", "")
        with pytest.raises(NotFound):
            await pools.run(wanted(), refused(404, "model 'there' not found"))
        assert not pools.pool.offers(parse_name("m"))
        await pools.probe()
        assert pools.pool.offers(parse_name("m"))
    assert len([record for record in caplog.records if record.name == "remuda.remote"]) == 1


async def test_a_probe_that_makes_no_sense_counts_and_the_watch_goes_on() -> None:
    server = Server("m")
    server.fault = KeyError("models")
    async with watched(server) as pools:
        assert pools["a"].error == "upstream 'a' could not be probed: KeyError"
        server.fault = None
        await pools.probe()
        assert (pools.state, pools["a"].error) == ("up", "")


async def test_a_probe_takes_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PATIENCE", 0.01)
    server = Server("m")
    server.open = asyncio.Event()
    async with watched(server) as pools:
        await asyncio.wait((pools.watch.again(),), timeout=5)
        assert pools["a"].error == "upstream 'a' did not answer a probe within 0.01 s"


async def test_while_it_is_left_alone_a_passing_list_is_not_enough_if_it_was_answers_that_failed() -> None:
    async with watched(Server("m")) as pools:
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await pools.run(wanted(), broke())
        await pools.probe()
        assert pools.state == "down"
        await pools.probe(10.0)
        assert pools.state == "up"


async def test_a_model_that_must_write_a_token_before_it_is_used_again() -> None:
    server = Server("m")
    async with watched(server, probe_model="m") as pools:
        await pools.probe()
        assert server.proofs == 0
        server.proof = refused(404, "model 'm' not found")
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await pools.run(wanted(), broke())
        await pools.probe()
        assert (pools.state, server.proofs) == ("down", 1)
        await pools.probe(10.0)
        assert pools.state == "down"
        assert pools["a"].breaker.wait(pools.time.now) == 20.0
        server.proof = None
        await pools.probe()
        assert (pools.state, server.proofs) == ("up", 3)


async def test_a_probe_that_is_the_trial_keeps_requests_out_and_a_stop_ends_it() -> None:
    server = Server("m")
    async with watched(server) as pools:
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await pools.run(wanted(), broke())
        server.open = asyncio.Event()
        pools.time.now += 10.0
        pools.watch.again()
        await spin()
        assert pools.state == "trying"
        with pytest.raises(Unavailable, match="is being tried again"):
            await pools.run(wanted())
    assert pools.made[0].breaker.admits(pools.time.now)


async def test_a_missing_model_is_looked_for_at_once() -> None:
    server = Server("m")
    async with watched(server) as pools:
        server.has = []
        pools.time.now += 2.0
        with pytest.raises(NotFound):
            await pools.run(wanted(), refused(404, "model 'm' not found"))
        await spin()
        assert server.probes == 2
        server.has = ["m"]
        await pools.probe()
        with pytest.raises(NotFound):
            await pools.run(wanted(), refused(404, "model 'm' not found"))
        await spin()
        assert server.probes == 3, "it lists what it does not find: that is not asked for at once again"
        server.has = []
        await pools.probe()
        server.has = ["m"]
        assert await pools.pool.look(parse_name("m")) is False
        pools.time.now += 2.0
        assert await pools.pool.look(parse_name("m"))


async def test_looking_is_bounded_and_does_not_ask_one_that_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remuda_remote.pool._LOOK", 0.01)
    server = Server("m")
    async with watched(server) as pools:
        server.open = asyncio.Event()
        pools.time.now += 2.0

        async def go_on() -> None:
            await asyncio.sleep(0.02)
            pools.time.now += 1.0

        async with asyncio.timeout(5):
            _, found = await asyncio.gather(go_on(), pools.pool.look(parse_name("x")))
        assert not found
        assert server.probes == 2
        server.open.set()
        await spin()
        for _ in range(2):
            pools["a"].failed(broke(), pools.time.now)
        pools.time.now += 2.0
        assert not await pools.pool.look(parse_name("x"))
        assert server.probes == 2
