"""Pushing to a registry that works: what is sent, in which order, and what the client reads meanwhile."""

from __future__ import annotations

import hashlib
import tracemalloc
from contextlib import aclosing
from functools import partial
from pathlib import Path

import anyio
import pytest
from pushing import make_model, policy_for, push_lines
from registry import MODEL, Fault, Registry, digest_of

from remuda.errors import ModelNotFound
from remuda.model import parse_name
from remuda.model.manifest import LICENSE, MANIFEST, PARAMS, BadManifest
from remuda.model.store import Store
from remuda.model.transfer import Transfers, upload
from remuda.wire import ProgressResponse

pytestmark = pytest.mark.anyio

WEIGHTS = bytes(range(256)) * 400
CONFIGURATION = b'{"model_format":"gguf"}'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of each."""
    monkeypatch.setattr(upload, "SMALLEST_PART", 10_000)
    return 10_000


@pytest.mark.usefixtures("no_blocking")
async def test_blobs_go_first_and_the_manifest_as_it_is_stored(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        layers = {MODEL: WEIGHTS, PARAMS: b'{"top_k":3}'}
        making = partial(make_model, store, name, layers, config=CONFIGURATION)
        manifest = await anyio.to_thread.run_sync(making)
        lines = await push_lines(store, policy_for(tmp_path), name)

    assert registry.manifests == {"library/tiny:latest": manifest}
    assert set(registry.blobs.values()) == {WEIGHTS, b'{"top_k":3}', CONFIGURATION}
    order = [line.digest for line in lines if line.digest]
    assert list(dict.fromkeys(order)) == [digest_of(data) for data in (WEIGHTS, b'{"top_k":3}', CONFIGURATION)]
    statuses = [line.status for line in lines]
    assert statuses[0] == "retrieving manifest"
    assert statuses[-2:] == ["pushing manifest", "success"]
    for data in (WEIGHTS, CONFIGURATION):
        assert _complete(data) in lines
    kinds = [seen.kind for seen in registry.requests]
    assert kinds[:4] == ["HEAD blob", "POST uploads", "PATCH upload", "PUT upload"]
    assert kinds[-1] == "PUT manifest"
    assert kinds.count("PUT manifest") == 1
    assert registry.seen("PUT manifest")[0].headers["content-type"] == MANIFEST
    assert registry.seen("PATCH upload")[0].headers["content-range"] == f"0-{len(WEIGHTS) - 1}"


async def test_what_the_registry_has_is_one_complete_line_and_not_sent_again(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION)
        registry.add_blob("library/tiny", WEIGHTS)
        first = await push_lines(store, policy_for(tmp_path), name)
        assert [line for line in first if line.digest == digest_of(WEIGHTS)] == [_complete(WEIGHTS)]
        assert registry.received("PATCH upload") == len(CONFIGURATION)

        registry.requests.clear()
        again = await push_lines(store, policy_for(tmp_path), name)
        assert [seen.kind for seen in registry.requests] == ["HEAD blob", "HEAD blob", "PUT manifest"]
        assert again == [
            ProgressResponse(status="retrieving manifest"),
            _complete(WEIGHTS),
            _complete(CONFIGURATION),
            ProgressResponse(status="pushing manifest"),
            ProgressResponse(status="success"),
        ]


async def test_a_blob_that_is_there_twice_is_sent_once(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, [(LICENSE, b"MIT"), (MODEL, WEIGHTS), (LICENSE, b"MIT")])
        await push_lines(store, policy_for(tmp_path), name)
        assert registry.count("POST uploads") == 3


async def test_an_empty_blob_is_sent_too(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, [(LICENSE, b""), (MODEL, WEIGHTS)])
        await push_lines(store, policy_for(tmp_path), name)
        assert registry.blobs[digest_of(b"")] == b""


@pytest.mark.parametrize("header", ["Location", "Docker-Upload-Location"])
@pytest.mark.parametrize("relative", [False, True])
async def test_parts_follow_one_another(
    store: Store, tmp_path: Path, small_parts: int, header: str, relative: bool
) -> None:
    with Registry() as registry:
        registry.upload_header, registry.relative = header, relative
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION)
        await push_lines(store, policy_for(tmp_path), name)
    assert registry.blobs[digest_of(WEIGHTS)] == WEIGHTS
    ranges = [seen.headers["content-range"] for seen in registry.seen("PATCH upload")[:-1]]
    assert len(ranges) == -(-len(WEIGHTS) // small_parts)
    assert ranges[:2] == ["0-9999", "10000-19999"]
    assert ranges[-1] == f"100000-{len(WEIGHTS) - 1}"
    assert all(seen.headers["x-redirect-uploads"] == "1" for seen in registry.seen("PATCH upload"))


@pytest.mark.parametrize(
    ("size", "parts", "first"),
    [
        (0, 0, 0),
        (1, 1, 1),
        (100_000_000, 1, 100_000_000),
        (250_000_000, 3, 100_000_000),
        (3_200_000_000, 16, 200_000_000),
        (40_000_000_000, 40, 1_000_000_000),
    ],
)
async def test_a_part_is_a_sixteenth_within_bounds(size: int, parts: int, first: int) -> None:
    cut = upload.parts_of(size)
    assert len(cut) == parts
    assert sum(len(part) for part in cut) == size
    assert not cut or len(cut[0]) == first


async def test_redirected_parts_go_elsewhere_without_authorization(
    store: Store, tmp_path: Path, small_parts: int
) -> None:
    with Registry(auth="token") as registry, Registry(host="127.0.0.2") as elsewhere:
        registry.redirect_uploads, elsewhere.uploads = elsewhere.url, registry.uploads
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION)
        lines = await push_lines(store, policy_for(tmp_path, private=("127.0.0.*",)), name)
    assert registry.blobs[digest_of(WEIGHTS)] == WEIGHTS
    assert _complete(WEIGHTS) in lines
    assert elsewhere.received("PUT part") == len(WEIGHTS) + len(CONFIGURATION)
    assert not any("authorization" in seen.headers for seen in elsewhere.requests)
    commit = registry.seen("PUT upload")[0]
    hashes = [hashlib.md5(WEIGHTS[at : at + small_parts]).digest() for at in range(0, len(WEIGHTS), small_parts)]
    assert commit.query["etag"] == f"{hashlib.md5(b''.join(hashes)).hexdigest()}-{len(hashes)}"
    assert commit.query["digest"] == digest_of(WEIGHTS)


async def test_redirected_parts_travel_side_by_side_but_not_all_of_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 1000)
    monkeypatch.setattr(upload, "_PARTS", 1000)
    with Registry() as registry, Registry(host="127.0.0.2") as elsewhere:
        registry.redirect_uploads, elsewhere.uploads = elsewhere.url, registry.uploads
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS[:30_000]}, config=CONFIGURATION)
        elsewhere.fail("PUT part", Fault(stall=10), always=True)
        async with anyio.create_task_group() as group:
            group.start_soon(push_lines, store, policy_for(tmp_path, private=("127.0.0.*",)), name)
            await anyio.to_thread.run_sync(elsewhere.await_request, "PUT part", 16)
            # The seventeenth would be on its way by now.
            await anyio.sleep(0.2)
            assert elsewhere.count("PUT part") == 16
            group.cancel_scope.cancel()


async def test_blobs_of_the_parent_are_mounted(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        registry.add_blob("library/base", WEIGHTS)
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION, parent=registry.name("library/base:1"))
        lines = await push_lines(store, policy_for(tmp_path), name)
        assert registry.has("library/tiny:latest", digest_of(WEIGHTS))
        assert registry.received("PATCH upload") == len(CONFIGURATION)
        assert _complete(WEIGHTS) in lines


@pytest.mark.parametrize("parent", ["HERE/library/base:1", "elsewhere.example/library/base:1", "!", "base"])
async def test_blobs_that_cannot_be_mounted_are_sent(store: Store, tmp_path: Path, parent: str) -> None:
    with Registry() as registry:
        registry.can_mount = False
        registry.add_blob("library/base", WEIGHTS)
        name = registry.name("library/tiny:latest")
        parent = parent.replace("HERE", registry.host)
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION, parent=parent)
        await push_lines(store, policy_for(tmp_path), name)
        assert registry.has("library/tiny:latest", digest_of(WEIGHTS))
        asked = registry.seen("POST uploads")[0].query
        assert asked == ({"mount": digest_of(WEIGHTS), "from": "library/base"} if registry.host in parent else {})


async def test_a_missing_model_says_so_without_a_path(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        seen: list[str] = []
        with pytest.raises(ModelNotFound) as raised:  # noqa: PT012
            async with aclosing(Transfers(store, policy_for(tmp_path)).push(parse_name(name))) as lines:
                async for line in lines:
                    seen.append(line.status)  # noqa: PERF401
        assert seen == ["retrieving manifest", "couldn't retrieve manifest"]
        assert raised.value.message == f"model '{name}' not found"
        assert not registry.requests


async def test_a_corrupt_manifest_is_not_spread(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS})
        place = store.root / "manifests" / registry.host / "library" / "tiny" / "latest"
        place.write_bytes(place.read_bytes()[:-9])
        with pytest.raises(BadManifest):
            await push_lines(store, policy_for(tmp_path), name)
        assert not registry.requests


async def test_progress_is_told_while_a_blob_is_sent(store: Store, tmp_path: Path, small_parts: int) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION)
        registry.fail("PATCH upload", *[Fault(trickle=0.02)] * 11)
        lines = await push_lines(store, policy_for(tmp_path), name)
    told = [line for line in lines if line.digest == digest_of(WEIGHTS)]
    completed = [line.completed for line in told]
    assert len(set(completed)) > 5
    assert completed == sorted(completed)
    assert told[-1] == _complete(WEIGHTS)
    assert {(line.status, line.total) for line in told} == {(_complete(WEIGHTS).status, len(WEIGHTS))}


async def test_closing_the_lines_ends_the_push_and_lets_go_of_the_blobs(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS}, config=CONFIGURATION)
        registry.fail("PATCH upload", Fault(stall=1000))
        lines = Transfers(store, policy_for(tmp_path)).push(parse_name(name), insecure=True)
        async for line in lines:
            if line.digest:
                break
        await anyio.to_thread.run_sync(registry.await_request, "PATCH upload")
        store.delete(parse_name(name))
        blob = store.root / "blobs" / digest_of(WEIGHTS).replace(":", "-")
        assert blob.exists(), "a blob that is being pushed was removed"
        await lines.aclose()
        await anyio.to_thread.run_sync(registry.await_left, "PATCH upload")
        assert not blob.exists()
        assert registry.count("PUT upload") == 0


async def test_memory_does_not_grow_with_the_blob(store: Store, tmp_path: Path) -> None:
    data = bytes(64 * 2**20)
    with Registry() as registry:
        registry.keep = False
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: data})
        del data
        tracemalloc.start()
        try:
            await push_lines(store, policy_for(tmp_path), name)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert registry.received("PATCH upload") > 64 * 2**20
    assert peak < 8 * 2**20


async def test_tokens_are_asked_for_with_a_signature(store: Store, tmp_path: Path) -> None:
    with Registry(auth="token") as registry:
        name = registry.name("library/tiny:latest")
        make_model(store, name, {MODEL: WEIGHTS})
        await push_lines(store, policy_for(tmp_path), name)
        assert registry.count("GET token") == 1
        assert "library/tiny:latest" in registry.manifests


def _complete(data: bytes) -> ProgressResponse:
    digest = digest_of(data)
    return ProgressResponse(status=f"pushing {digest[7:19]}", digest=digest, total=len(data), completed=len(data))
