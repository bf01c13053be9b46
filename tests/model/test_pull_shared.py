"""Several pulls at once (S29)."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from anyio.to_thread import run_sync
from pulling import digest, policy_of, pulled, pulling
from registry import MODEL, Fault, Registry

from remuda.errors import Draining
from remuda.model import parse_name
from remuda.model.manifest import LICENSE
from remuda.model.store import Store
from remuda.model.transfer import RegistryError, Transfers
from remuda.wire import ProgressResponse

_TINY = "library/tiny:latest"
_WEIGHTS = random.Random(8).randbytes(3_000_000)
_BLOB = digest(_WEIGHTS)

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: _WEIGHTS})
        yield registry


def _pull(transfers: Transfers, registry: Registry) -> AsyncGenerator[ProgressResponse, None]:
    return transfers.pull(parse_name(registry.name(_TINY)), insecure=True)


async def _until_half(events: AsyncGenerator[ProgressResponse, None]) -> int:
    async for event in events:
        if event.completed:
            return event.completed
    raise AssertionError("the pull ended")


async def test_two_pulls_are_one_download(registry: Registry, tmp_path: Path) -> None:
    """One leaves in the middle, which the other does not notice."""
    go_on = threading.Event()
    registry.fail("GET blob", Fault(stall=2_000_000, until=go_on))
    async with pulling(tmp_path, stall_timeout=10) as (store, transfers):
        async with aclosing(_pull(transfers, registry)) as second:
            async with aclosing(_pull(transfers, registry)) as first:
                assert await _until_half(first) > 0
                assert await _until_half(second) > 0
            go_on.set()
            rest = [event async for event in second]
        assert rest[-1].status == "success"
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    assert registry.count("GET blob") == 2
    assert registry.sent("GET blob") == len(_WEIGHTS) + 2


async def test_whoever_leaves_last_stops_it_and_what_came_is_kept(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(stall=2_000_000))
    async with pulling(tmp_path, stall_timeout=10) as (store, transfers):
        async with aclosing(_pull(transfers, registry)) as first, aclosing(_pull(transfers, registry)) as second:
            await _until_half(first)
            await _until_half(second)
        await run_sync(registry.await_left, "GET blob")
        assert (tmp_path / "models" / "blobs" / f"sha256-{_BLOB.hex}-partial-0").exists()
        events = await pulled(transfers, registry.name(_TINY))
        assert events[-1].status == "success"
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    assert registry.sent("GET blob") <= 1.1 * len(_WEIGHTS)


async def test_a_cancelled_task_leaves_as_well(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(stall=2_000_000))
    async with pulling(tmp_path, stall_timeout=10) as (_, transfers):
        task = asyncio.create_task(pulled(transfers, registry.name(_TINY)))
        await run_sync(registry.await_request, "GET blob")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await run_sync(registry.await_left, "GET blob")
        assert (await pulled(transfers, registry.name(_TINY)))[-1].status == "success"


async def test_models_that_overlap_pulled_by_two_servers_at_once(tmp_path: Path) -> None:
    """Each blob crosses the wire once, whoever wants it."""
    shared = [random.Random(seed).randbytes(300_000) for seed in range(4)]
    with Registry() as registry:
        for n in range(8):
            layers = [(MODEL, shared[n % 4]), (LICENSE, shared[(n + 1) % 4]), (LICENSE, f"own {n}".encode())]
            registry.add_model(f"library/tiny:{n}", layers)
        servers = [Transfers(Store(tmp_path / "models"), policy_of(tmp_path)) for _ in range(2)]
        results = await asyncio.gather(
            *(pulled(servers[n % 2], registry.name(f"library/tiny:{n}")) for n in range(8)),
            *(pulled(servers[n % 2], registry.name("library/tiny:0")) for n in range(4)),
        )
        assert all(events[-1].status == "success" for events in results)
        store = Store(tmp_path / "models")
        for n in range(8):
            found = store.find(parse_name(registry.name(f"library/tiny:{n}")))
            assert found is not None
            for each in found.manifest.digests:
                store.verify(each)
        assert registry.sent("GET blob") == sum(
            len(blob) for blob in registry.blobs.values() if isinstance(blob, bytes)
        )
        assert not [path for path in (tmp_path / "models" / "blobs").iterdir() if "partial" in path.name]


async def test_nobody_suffers_from_somebody_elses_registry(registry: Registry, tmp_path: Path) -> None:
    with Registry() as bad:
        bad.add_model(_TINY, {MODEL: _WEIGHTS})
        refuse = threading.Event()
        bad.fail("GET blob", Fault(stall=1000, until=refuse, extra=-1), Fault(status=403), always=True)
        async with pulling(tmp_path, stall_timeout=10) as (store, transfers):
            async with aclosing(_pull(transfers, bad)) as first:
                assert [(await anext(first)).status for _ in range(2)][-1] == f"pulling {_BLOB.short}"
                other = asyncio.create_task(pulled(transfers, registry.name(_TINY)))
                await run_sync(registry.await_request, "GET manifest")
                refuse.set()
                with pytest.raises(RegistryError):
                    [event async for event in first]
            assert (await other)[-1].status == "success"
            assert store.read_blob(_BLOB, 10**8) == _WEIGHTS


async def test_a_blob_that_is_on_its_way_is_not_pruned(registry: Registry, tmp_path: Path) -> None:
    """What a pull has fetched belongs to no model yet when another one is deleted."""
    registry.add_model("library/other:latest", {LICENSE: b"text"})
    registry.add_model(_TINY, [(LICENSE, b"text"), (MODEL, _WEIGHTS)])
    go_on = threading.Event()
    async with pulling(tmp_path, stall_timeout=10) as (store, transfers):
        await pulled(transfers, registry.name("library/other:latest"))
        registry.fail("GET blob", Fault(stall=1000, until=go_on))
        async with aclosing(_pull(transfers, registry)) as events:
            async for event in events:
                if event.digest == str(_BLOB):
                    break
            await run_sync(store.delete, parse_name(registry.name("library/other:latest")))
            go_on.set()
            rest = [event async for event in events]
        assert rest[-1].status == "success"
        assert store.has(digest(b"text"))


async def test_closing_tells_who_waits(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(stall=2_000_000))
    async with (
        pulling(tmp_path, stall_timeout=10) as (_, transfers),
        aclosing(_pull(transfers, registry)) as events,
    ):
        await _until_half(events)
        await transfers.close()
        with pytest.raises(Draining):
            [event async for event in events]
    assert (tmp_path / "models" / "blobs" / f"sha256-{_BLOB.hex}-partial-0").exists()
