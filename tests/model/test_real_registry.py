"""Docker's own registry: what is pushed to it comes back byte by byte."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import msgspec
import pytest
from cutting import cutting_proxy
from docker_registry import DockerRegistry, docker_registry
from pushing import make_model, policy_for, pull_lines, push_lines
from registry import MODEL, digest_of

from remuda.model import parse_name
from remuda.model.digest import parse_digest
from remuda.model.manifest import LICENSE, MANIFEST, PARAMS, SYSTEM
from remuda.model.store import Store
from remuda.model.transfer import NotInRegistry, RegistryError, TransferPolicy, Transfers, Unauthorized, retry, upload

pytestmark = pytest.mark.anyio

WEIGHTS = random.Random(11).randbytes(5_000_000)
LAYERS = [(MODEL, WEIGHTS), (PARAMS, b'{"top_k":9}'), (SYSTEM, b"Be brief."), (LICENSE, b"MIT"), (LICENSE, b"")]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Another machine's."""
    return Store(tmp_path / "others")


@pytest.fixture
def policy(tmp_path: Path) -> TransferPolicy:
    return policy_for(tmp_path)


async def _round_trip(store: Store, other: Store, policy: TransferPolicy, name: str) -> None:
    await push_lines(store, policy, name)
    lines = await pull_lines(other, policy, name)
    assert lines[-1].status == "success"
    here, there = store.find(parse_name(name)), other.find(parse_name(name))
    assert here is not None
    assert there is not None
    assert there.data == here.data
    for digest in here.manifest.digests:
        assert other.blob(digest).read_bytes() == store.blob(digest).read_bytes()


async def test_what_was_pushed_comes_back_byte_by_byte(
    registry: DockerRegistry, store: Store, other: Store, policy: TransferPolicy
) -> None:
    name = f"{registry.host}/library/round:latest"
    manifest = make_model(store, name, LAYERS)
    await _round_trip(store, other, policy, name)
    async with httpx.AsyncClient(headers={"Accept": MANIFEST}) as client:
        reply = await client.get(f"{registry.url}/v2/library/round/manifests/latest")
    assert reply.content == manifest
    assert reply.headers["Content-Type"] == MANIFEST


async def test_a_manifest_written_elsewhere_keeps_its_spaces(
    registry: DockerRegistry, store: Store, other: Store, policy: TransferPolicy
) -> None:
    name = f"{registry.host}/library/spaced:latest"
    manifest = make_model(store, name, LAYERS)
    store.write(parse_name(name), manifest.replace(b",", b" ,\n  "))
    await _round_trip(store, other, policy, name)


async def test_a_blob_in_many_parts(
    registry: DockerRegistry,
    store: Store,
    other: Store,
    policy: TransferPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 700_000)
    name = f"{registry.host}/library/parts:latest"
    make_model(store, name, [(MODEL, WEIGHTS[::-1])])
    before = registry.requests("PATCH", "library/parts")
    await _round_trip(store, other, policy, name)
    assert registry.requests("PATCH", "library/parts") - before == 8 + 1


async def test_the_second_push_sends_nothing(registry: DockerRegistry, store: Store, policy: TransferPolicy) -> None:
    name = f"{registry.host}/library/twice:latest"
    make_model(store, name, LAYERS)
    await push_lines(store, policy, name)
    sent = registry.requests("POST"), registry.requests("PATCH")
    lines = await push_lines(store, policy, name)
    assert (registry.requests("POST"), registry.requests("PATCH")) == sent
    assert [line.completed for line in lines if line.digest] == [line.total for line in lines if line.digest]


async def test_a_tag_is_overwritten_with_what_is_new(
    registry: DockerRegistry, store: Store, other: Store, policy: TransferPolicy
) -> None:
    name = f"{registry.host}/library/changing:latest"
    make_model(store, name, LAYERS)
    await _round_trip(store, other, policy, name)
    uploads = registry.requests("POST", "library/changing")
    make_model(store, name, [*LAYERS[:2], (SYSTEM, b"Be verbose.")])
    await _round_trip(store, other, policy, name)
    assert registry.requests("POST", "library/changing") == uploads + 1
    assert not other.has(parse_digest(digest_of(b"Be brief.")))


async def test_a_model_made_from_another_is_mounted(
    registry: DockerRegistry, store: Store, other: Store, policy: TransferPolicy
) -> None:
    base, made = f"{registry.host}/library/base:latest", f"{registry.host}/somebody/made:v1"
    make_model(store, base, [(MODEL, WEIGHTS)])
    await push_lines(store, policy, base)
    make_model(store, made, [(MODEL, WEIGHTS)], parent=base, config=b'{"model_format":"gguf"}')
    await _round_trip(store, other, policy, made)
    # The configuration alone.
    assert registry.requests("PATCH", "somebody/made") == 1


async def test_what_is_missing_does_not_exist(registry: DockerRegistry, other: Store, policy: TransferPolicy) -> None:
    with pytest.raises(NotInRegistry):
        await pull_lines(other, policy, f"{registry.host}/library/absent:latest")


async def test_a_name_that_the_registry_refuses(registry: DockerRegistry, store: Store, policy: TransferPolicy) -> None:
    name = f"{registry.host}/library/UPPER:latest"
    make_model(store, name, LAYERS)
    with pytest.raises(RegistryError) as raised:
        await push_lines(store, policy, name)
    assert str(store.root) not in raised.value.message


async def test_a_pull_goes_on_where_it_was_interrupted(
    registry: DockerRegistry, store: Store, other: Store, policy: TransferPolicy
) -> None:
    name = f"{registry.host}/library/resumed:latest"
    data = random.Random(5).randbytes(40_000_000)
    make_model(store, name, [(MODEL, data)])
    await push_lines(store, policy, name)
    transfers = Transfers(other, policy)
    came = 0
    async with aclosing(transfers.pull(parse_name(name), insecure=True)) as lines:
        async for line in lines:
            came = line.completed
            if came:
                break
    await transfers.close()
    await _round_trip(store, other, policy, name)
    assert 0 < registry.resumed("library/resumed") <= len(data) - came


async def test_a_push_survives_ten_cuts(
    registry: DockerRegistry, store: Store, other: Store, policy: TransferPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(upload, "SMALLEST_PART", 700_000)
    chance = random.Random(2)
    async with cutting_proxy(registry.host, [chance.randrange(900_000) for _ in range(10)]) as host:
        name = f"{host}/library/cut:latest"
        make_model(store, name, [(MODEL, WEIGHTS[1:])])
        await _round_trip(store, other, msgspec.structs.replace(policy, retries=10), name)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry"), password=True) as registry:
        yield registry


async def test_the_password_is_taken_from_dockers_configuration(
    guarded: DockerRegistry,
    store: Store,
    other: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = f"{guarded.host}/library/secret:latest"
    make_model(store, name, LAYERS)
    guarded.log_in(tmp_path)
    await _round_trip(store, other, policy_for(tmp_path, private=(guarded.host,)), name)


async def test_nothing_goes_without_the_password(
    guarded: DockerRegistry, store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = f"{guarded.host}/library/secret:latest"
    make_model(store, name, LAYERS)
    policy = policy_for(tmp_path, private=(guarded.host,))
    with pytest.raises(Unauthorized, match=r"^unauthorized: access denied$"):
        await push_lines(store, policy, name)
    with pytest.raises(Unauthorized):
        await pull_lines(other, policy, name)


async def test_a_neighbour_on_loopback_gets_the_password_without_a_word_in_the_configuration(
    guarded: DockerRegistry, store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    guarded.log_in(tmp_path)
    name = f"{guarded.host}/library/neighbour:latest"
    make_model(store, name, LAYERS)
    await _round_trip(store, other, policy_for(tmp_path), name)
