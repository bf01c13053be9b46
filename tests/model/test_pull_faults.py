"""Pulls over connections and from registries that fail (S26, S27, S28, S38)."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulling import digest, policy_of, pulled, pulling, statuses
from registry import MODEL, Fault, Registry

from remuda.model import parse_name
from remuda.model.store import Store
from remuda.model.transfer import RegistryError, Transfers, download, fetch, parts
from remuda.model.transfer.parts import Bounds

_TINY = "library/tiny:latest"
_WEIGHTS = random.Random(5).randbytes(2_000_000)
_BLOB = digest(_WEIGHTS)

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: _WEIGHTS})
        yield registry


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BOUNDS", Bounds(smallest=200_000, largest=200_000))


def _leftovers(folder: Path) -> list[str]:
    return [path.name for path in (folder / "models" / "blobs").iterdir() if "partial" in path.name]


@pytest.mark.parametrize("seed", range(3))
async def test_cuts_cost_next_to_nothing(registry: Registry, tmp_path: Path, seed: int) -> None:
    """S26, as one part."""
    places = random.Random(seed)
    registry.fail("GET blob", *(Fault(cut=places.randrange(1, 300_000)) for _ in range(10)))
    async with pulling(tmp_path) as (store, transfers):
        events = await pulled(transfers, registry.name(_TINY))
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    completed = [event.completed for event in events if event.digest == str(_BLOB)]
    assert completed == sorted(completed)
    assert completed[-1] == len(_WEIGHTS)
    assert registry.sent("GET blob") <= 1.1 * len(_WEIGHTS)
    assert registry.count("GET blob") == 12
    assert not _leftovers(tmp_path)


@pytest.mark.usefixtures("in_parts")
async def test_cuts_in_parts(registry: Registry, tmp_path: Path) -> None:
    places = random.Random(7)
    registry.fail("GET blob", *(Fault(cut=places.randrange(150_000)) for _ in range(20)))
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    assert registry.sent("GET blob") <= 1.1 * len(_WEIGHTS)


async def test_progress_while_it_comes(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(trickle=0.0002))
    begun = time.monotonic()
    async with pulling(tmp_path) as (_, transfers):
        events = await pulled(transfers, registry.name(_TINY))
    most = (time.monotonic() - begun) / 0.06 + 2
    completed = [event.completed for event in events if event.digest == str(_BLOB)]
    assert completed == sorted(set(completed))
    assert 3 < len(completed) <= most
    assert {event.total for event in events if event.digest == str(_BLOB)} == {len(_WEIGHTS)}


@pytest.mark.usefixtures("in_parts")
async def test_a_registry_that_knows_no_ranges(registry: Registry, tmp_path: Path) -> None:
    """S27: nothing of what came in a wrong place stays."""
    whole = Fault(ignore_range=True)
    registry.fail("GET blob", whole, Fault(ignore_range=True, cut=700_000), whole, always=True)
    async with pulling(tmp_path) as (store, transfers):
        events = await pulled(transfers, registry.name(_TINY))
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    completed = [event.completed for event in events if event.digest == str(_BLOB)]
    assert completed == sorted(completed)


async def test_a_registry_that_forgets_ranges_half_way(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(cut=700_000), Fault(ignore_range=True, cut=900_000))
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    assert registry.seen("GET blob")[2].headers["range"] == f"bytes=900000-{len(_WEIGHTS) - 1}"


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize(
    "header", ["", "bytes 0-10/2000000", "bytes 200000-399999/2000001", "rubbish", f"bytes {'9' * 5000}-1/2"]
)
async def test_ranges_that_were_not_asked_for(registry: Registry, tmp_path: Path, header: str) -> None:
    registry.fail("GET blob", Fault(), Fault(headers={"Content-Range": header}), always=True)
    async with pulling(tmp_path) as (store, transfers):
        with pytest.raises(RegistryError, match=r"other bytes than it was asked|and 2000000 in the manifest"):
            await pulled(transfers, registry.name(_TINY))
        assert not store.has(_BLOB)


@pytest.mark.parametrize("split", [False, True])
async def test_wrong_bytes_of_the_right_length(
    registry: Registry, tmp_path: Path, split: bool, request: pytest.FixtureRequest
) -> None:
    """S28."""
    if split:
        request.getfixturevalue("in_parts")
    registry.fail("GET blob", Fault(corrupt=True))
    async with pulling(tmp_path) as (store, transfers):
        with pytest.raises(RegistryError, match=f"^digest mismatch, .* again: want {_BLOB}, got sha256:") as error:
            await pulled(transfers, registry.name(_TINY))
        assert error.value.status == 500
        assert not store.has(_BLOB)
        assert store.names() == []
        assert _leftovers(tmp_path) == []
        assert statuses(await pulled(transfers, registry.name(_TINY)))[-1] == "success"
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS


async def test_too_much_and_too_little(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(extra=-1), Fault(extra=1))
    async with pulling(tmp_path) as (store, transfers):
        for size in (len(_WEIGHTS) - 1, len(_WEIGHTS) + 1):
            with pytest.raises(RegistryError, match=f"has {size} bytes in the registry, and {len(_WEIGHTS)} in"):
                await pulled(transfers, registry.name(_TINY))
        assert _leftovers(tmp_path) == []
        await pulled(transfers, registry.name(_TINY))
        assert store.has(_BLOB)


async def test_a_stall_is_given_up_and_tried_again(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(stall=100_000), Fault(stall=0))
    async with pulling(tmp_path, stall_timeout=0.2) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        assert store.has(_BLOB)
    assert registry.sent("GET blob") == len(_WEIGHTS) + 2


async def test_busy_registries_are_given_time(registry: Registry, tmp_path: Path) -> None:
    """S38."""
    busy = Fault(status=429, headers={"Retry-After": "1"})
    registry.fail("GET blob", busy, *[Fault(status=500)] * 3)
    async with pulling(tmp_path) as (_, transfers):
        await pulled(transfers, registry.name(_TINY))
    assert registry.count("GET blob") == 6


@pytest.mark.parametrize(
    ("fault", "told", "asked"),
    [
        (Fault(status=500, body=b"tired"), "500: tired", 7),
        (Fault(status=403, body=b"no"), "403: no", 1),
        (Fault(status=416), "416: ", 1),
        (Fault(redirect="{path}"), "redirects for ever", 1),
        (Fault(cut=0), "was cut", 7),
        (Fault(status=429, headers={"Retry-After": "86400"}), "429: ", 1),
    ],
)
async def test_there_is_an_end(registry: Registry, tmp_path: Path, fault: Fault, told: str, asked: int) -> None:
    registry.fail("GET blob", fault, always=True)
    async with pulling(tmp_path) as (store, transfers):
        with pytest.raises(RegistryError, match=told):
            await pulled(transfers, registry.name(_TINY))
        assert registry.count("GET blob") == asked
        assert store.names() == []
        assert _leftovers(tmp_path) == []
        registry.fail("GET blob")
        assert statuses(await pulled(transfers, registry.name(_TINY)))[-1] == "success"


async def test_a_byte_at_a_time_has_an_end(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(cut=1), always=True)
    async with pulling(tmp_path) as (_, transfers):
        with pytest.raises(RegistryError, match="was cut"):
            await pulled(transfers, registry.name(_TINY))
    assert registry.count("GET blob") == 7


async def test_notes_that_cannot_be_written_stop_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(parts, "_write", refuse)
    monkeypatch.setattr(fetch, "SAVE_SECONDS", 0.01)
    registry.fail("GET blob", Fault(cut=1_500_000), Fault(trickle=0.0001))
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        assert store.has(_BLOB)


@pytest.mark.usefixtures("in_parts")
async def test_what_came_before_the_end_is_kept(registry: Registry, tmp_path: Path) -> None:
    """Another server takes it up: other connections, another memory."""
    registry.fail("GET blob", *[Fault()] * 3, Fault(status=403), Fault(status=403), always=True)
    async with pulling(tmp_path) as (_, transfers):
        with pytest.raises(RegistryError, match="403"):
            await pulled(transfers, registry.name(_TINY))
    assert _leftovers(tmp_path)
    came = registry.sent("GET blob")
    assert came >= 200_000
    registry.fail("GET blob")
    store = Store(tmp_path / "models")
    transfers = Transfers(store, policy_of(tmp_path))
    events = await pulled(transfers, registry.name(_TINY))
    first = next(event for event in events if event.digest == str(_BLOB))
    assert first.completed >= 200_000
    assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    assert store.find(parse_name(registry.name(_TINY))) is not None
    assert _leftovers(tmp_path) == []
