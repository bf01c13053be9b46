"""What a pull brings and what it says (Ollama API, "POST /api/pull")."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from pulling import digest, policy_of, pulled, pulling, statuses
from registry import MANIFEST, MODEL, Fault, Registry

from remuda.errors import BadRequest, Forbidden, RemudaError
from remuda.model import parse_name
from remuda.model.manifest import LICENSE, MAX_MANIFEST, SYSTEM
from remuda.model.store import Store
from remuda.model.transfer import NotInRegistry, RegistryError, Transfers, download
from remuda.model.transfer.parts import Bounds

_TINY = "library/tiny:latest"
_WEIGHTS = bytes(range(256)) * 4096

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: _WEIGHTS, LICENSE: b"do as you like"})
        yield registry


def _holds(store: Store, registry: Registry, name: str = _TINY) -> bool:
    """The same manifest, byte for byte, and the same blobs."""
    found = store.find(parse_name(registry.name(name)))
    assert found is not None
    assert found.data == registry.manifests[name]
    for each in found.manifest.digests:
        blob = registry.blobs[str(each)]
        assert store.read_blob(each, 10**8) == (blob if isinstance(blob, bytes) else blob.read_bytes())
    return True


async def test_a_model_comes_as_a_whole(registry: Registry, tmp_path: Path) -> None:
    weights, license, config = (digest(each) for each in (_WEIGHTS, b"do as you like", b"{}"))
    async with pulling(tmp_path) as (store, transfers):
        events = await pulled(transfers, registry.name(_TINY))
        assert statuses(events) == [
            "pulling manifest",
            f"pulling {weights.short}",
            f"pulling {license.short}",
            f"pulling {config.short}",
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        assert _holds(store, registry)
    assert sorted(path.name for path in (tmp_path / "models" / "blobs").iterdir()) == sorted(
        f"sha256-{each.hex}" for each in (weights, license, config)
    )
    last = [event for event in events if event.digest == str(weights)][-1]
    assert (last.total, last.completed) == (len(_WEIGHTS), len(_WEIGHTS))
    begun = json.loads(msgspec.json.encode(events[0]))
    assert begun == {"status": "pulling manifest"}
    assert registry.seen("GET manifest")[0].headers["accept"] == MANIFEST


async def test_what_is_there_is_one_complete_event(registry: Registry, tmp_path: Path) -> None:
    async with pulling(tmp_path) as (_, transfers):
        await pulled(transfers, registry.name(_TINY))
        fetched = registry.count("GET blob")
        events = await pulled(transfers, registry.name(_TINY))
    blobs = [event for event in events if event.digest]
    assert len(blobs) == len({event.digest for event in blobs}) == 3
    assert all(event.completed == event.total for event in blobs)
    assert registry.count("GET blob") == fetched == 3


async def test_layers_that_nobody_needs_any_more_are_removed(registry: Registry, tmp_path: Path) -> None:
    async with pulling(tmp_path) as (store, transfers):
        assert "removing unused layers" not in statuses(await pulled(transfers, registry.name(_TINY)))
        registry.add_model(_TINY, {MODEL: _WEIGHTS, SYSTEM: b"be brief"})
        assert statuses(await pulled(transfers, registry.name(_TINY)))[-3:] == [
            "writing manifest",
            "removing unused layers",
            "success",
        ]
        assert _holds(store, registry)
        assert not store.has(digest(b"do as you like"))
        assert "removing unused layers" not in statuses(await pulled(transfers, registry.name(_TINY)))


async def test_nothing_is_removed_where_that_is_off(registry: Registry, tmp_path: Path) -> None:
    store = Store(tmp_path / "models", prune=False)
    transfers = Transfers(store, policy_of(tmp_path))
    await pulled(transfers, registry.name(_TINY))
    registry.add_model(_TINY, {MODEL: _WEIGHTS})
    assert "removing unused layers" not in statuses(await pulled(transfers, registry.name(_TINY)))
    assert store.has(digest(b"do as you like"))


async def test_a_damaged_blob_is_fetched_again(registry: Registry, tmp_path: Path) -> None:
    """S34."""
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        path = store.blob(digest(_WEIGHTS))
        damaged = bytearray(path.read_bytes())
        damaged[5000] ^= 4
        path.write_bytes(damaged)
        events = await pulled(transfers, registry.name(_TINY))
        assert events[-1].status == "success"
        assert _holds(store, registry)
    assert [seen.path.rpartition("/")[2] for seen in registry.seen("GET blob")].count(str(digest(_WEIGHTS))) == 2
    assert registry.count("GET blob") == 4


async def test_a_layer_that_is_named_twice_and_one_that_is_empty(registry: Registry, tmp_path: Path) -> None:
    registry.add_model(_TINY, [(MODEL, _WEIGHTS), (LICENSE, b""), (LICENSE, b"same"), (LICENSE, b"same")])
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        assert _holds(store, registry)
    assert registry.count("GET blob") == 3


async def test_an_existing_spelling_of_the_name_is_kept(registry: Registry, tmp_path: Path) -> None:
    registry.add_model("library/TINY:latest", {MODEL: b"other"})
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        await pulled(transfers, registry.name("library/TINY"))
        assert [name.model for name in store.names()] == ["tiny"]
        assert store.has(digest(b"other"))


# --- parts


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BOUNDS", Bounds(smallest=50_000, largest=100_000))


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("auth", ["", "token"])
async def test_large_blobs_come_in_parts_from_where_the_registry_keeps_them(tmp_path: Path, auth: str) -> None:
    with Registry(auth=auth) as registry, Registry(host="127.0.0.2") as storage:
        registry.add_model(_TINY, {MODEL: _WEIGHTS})
        registry.redirect_blobs = storage.url
        storage.blobs = registry.blobs
        async with pulling(tmp_path) as (store, transfers):
            await pulled(transfers, registry.name(_TINY))
            assert _holds(store, registry)
        assert registry.count("GET blob") == 2
        parts = [seen for seen in storage.seen("GET direct") if seen.path.endswith(digest(_WEIGHTS).hex)]
        assert len(parts) == 16
        assert sum(seen.sent for seen in parts) == len(_WEIGHTS)
        assert not any("authorization" in seen.headers for seen in storage.requests)


@pytest.mark.usefixtures("in_parts")
async def test_an_address_that_expired_is_asked_for_again(registry: Registry, tmp_path: Path) -> None:
    with Registry(host="127.0.0.2") as storage:
        registry.redirect_blobs = storage.url
        storage.blobs = registry.blobs
        storage.fail("GET direct", Fault(cut=1000), Fault(status=403), Fault(status=403), Fault(status=404))
        async with pulling(tmp_path) as (store, transfers):
            await pulled(transfers, registry.name(_TINY))
            assert _holds(store, registry)
        assert 3 < registry.count("GET blob") < 10


@pytest.mark.usefixtures("in_parts")
async def test_a_registry_that_answers_with_the_bytes(registry: Registry, tmp_path: Path) -> None:
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        assert _holds(store, registry)
    asked = [seen.headers.get("range") for seen in registry.seen("GET blob")]
    assert len(asked) == 16 + 2
    assert "bytes=0-65535" in asked


@pytest.mark.usefixtures("in_parts", "no_blocking")
async def test_the_event_loop_is_never_blocked(tmp_path: Path) -> None:
    with Registry(auth="token") as registry:
        registry.add_model(_TINY, {MODEL: _WEIGHTS})
        registry.fail("GET blob", Fault(cut=1000), Fault(status=500))
        async with pulling(tmp_path) as (_, transfers):
            for _ in range(2):
                assert (await pulled(transfers, registry.name(_TINY)))[-1].status == "success"
            registry.add_model(_TINY, {MODEL: b"other"})
            assert "removing unused layers" in statuses(await pulled(transfers, registry.name(_TINY)))


# --- what cannot be pulled


async def test_an_unknown_model(registry: Registry, tmp_path: Path) -> None:
    async with pulling(tmp_path) as (_, transfers):
        events = transfers.pull(parse_name(registry.name("library/none")), insecure=True)
        assert (await anext(events)).status == "pulling manifest"
        with pytest.raises(NotInRegistry) as error:
            await anext(events)
    assert error.value.message == "pull model manifest: file does not exist"
    assert error.value.status == 500
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("tiny:cloud", Forbidden, "ollama cloud is disabled"),
        ("tiny:8b-cloud", Forbidden, "ollama cloud is disabled"),
        ("elsewhere.example/a/b", Forbidden, "elsewhere.example is not among those that registry.allow lists"),
        ("a:b:c/a/b", BadRequest, "invalid model name"),
    ],
)
async def test_names_that_are_refused_before_anything_is_said(
    tmp_path: Path, name: str, error: type[RemudaError], told: str
) -> None:
    async with pulling(tmp_path, allow=("registry.ollama.ai",)) as (_, transfers):
        with pytest.raises(error, match=told):
            await anext(transfers.pull(parse_name(name)))


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1:{port}", "localhost:{port}", "2130706433:{port}"])
async def test_no_client_makes_this_server_reach_inwards(registry: Registry, tmp_path: Path, host: str) -> None:
    """O18."""
    name = host.format(port=registry.host.partition(":")[2]) + "/library/tiny"
    async with pulling(tmp_path, private=()) as (_, transfers):
        for insecure in (True, False):
            with pytest.raises(Forbidden, match="has no public address"):
                await pulled(transfers, name, insecure=insecure)
    assert not registry.requests


async def test_sizes_that_do_not_agree(registry: Registry, tmp_path: Path) -> None:
    true = json.loads(registry.manifests[_TINY])
    async with pulling(tmp_path) as (store, transfers):
        for size in (len(_WEIGHTS) - 1, len(_WEIGHTS) + 1, 2**40):
            true["layers"][0]["size"] = size
            registry.add_manifest("library/tiny:wrong", json.dumps(true).encode())
            with pytest.raises(RegistryError, match=rf"{len(_WEIGHTS)} bytes in the registry, and {size} in the mani"):
                await pulled(transfers, registry.name("library/tiny:wrong"))
        assert not store.has(digest(_WEIGHTS))
        await pulled(transfers, registry.name(_TINY))
        with pytest.raises(RemudaError, match=f"has {len(_WEIGHTS)} bytes, not {size} as it says"):
            await pulled(transfers, registry.name("library/tiny:wrong"))
        true["layers"].append(true["layers"][0] | {"size": 7})
        registry.add_manifest("library/tiny:wrong", json.dumps(true).encode())
        with pytest.raises(RemudaError, match=r"gives blob \w+ two different sizes"):
            await pulled(transfers, registry.name("library/tiny:wrong"))
        assert [str(name) for name in store.names()] == [registry.name(_TINY)]


async def test_a_missing_blob_leaves_no_model(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(), Fault(status=404))
    async with pulling(tmp_path) as (store, transfers):
        with pytest.raises(NotInRegistry):
            await pulled(transfers, registry.name(_TINY))
        assert store.names() == []
        assert store.has(digest(_WEIGHTS))
        await pulled(transfers, registry.name(_TINY))
        assert _holds(store, registry)


async def test_manifests_from_elsewhere(tmp_path: Path) -> None:
    """As `hf.co` does: the whole registry is under another name, blobs at a third."""
    with Registry() as registry, Registry(host="127.0.0.2") as real, Registry(host="127.0.0.3") as storage:
        real.add_model("org/repo:Q4_K_M", {MODEL: _WEIGHTS})
        storage.blobs = real.blobs
        real.redirect_blobs = storage.url
        registry.fail("GET manifest", Fault(redirect=real.url + "{path}"), always=True)
        registry.fail("GET blob", Fault(redirect=real.url + "{path}"), always=True)
        async with pulling(tmp_path) as (store, transfers):
            await pulled(transfers, registry.name("org/repo:Q4_K_M"))
            found = store.find(parse_name(registry.name("org/repo:Q4_K_M")))
        assert found is not None
        assert found.data == real.manifests["org/repo:Q4_K_M"]


async def test_manifests_have_a_cap(registry: Registry, tmp_path: Path) -> None:
    registry.add_manifest(_TINY, b" " * (MAX_MANIFEST + 1))
    async with pulling(tmp_path) as (_, transfers):
        with pytest.raises(RegistryError, match=r"pull model manifest: .* more than 4194304 bytes"):
            await pulled(transfers, registry.name(_TINY))
