from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from stored import blobs_in, put_model, tree

from remuda.errors import BadRequest, LoadFailed, RemudaError, RequestCancelled
from remuda.model import BadManifest, BlobMissing, Digest, DigestMismatch, ModelName, Store, parse_name
from remuda.model.store import disk_error

DATA = b"some bytes"
DIGEST = Digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def test_a_store_that_is_only_asked_makes_no_files(store: Store) -> None:
    assert store.names() == []
    assert store.find(parse_name("m")) is None
    assert not store.has(DIGEST)
    with pytest.raises(BlobMissing):
        store.blob_size(DIGEST)
    with pytest.raises(RemudaError, match="not found"):
        store.delete(parse_name("m"))
    with pytest.raises(RemudaError, match="not found"):
        store.copy(parse_name("m"), parse_name("n"))
    store.sweep()
    assert not store.root.exists()


def test_a_blob_is_what_was_put(store: Store) -> None:
    assert store.put(DATA) == (DIGEST, True)
    assert store.put(DATA) == (DIGEST, False)
    assert store.blob(DIGEST) == store.root / "blobs" / f"sha256-{DIGEST.hex}"
    assert store.has(DIGEST)
    assert store.blob_size(DIGEST) == len(DATA)
    assert store.read_blob(DIGEST, 100) == DATA
    assert blobs_in(store) == {f"sha256-{DIGEST.hex}"}


def test_an_empty_blob_is_a_blob(store: Store) -> None:
    digest, new = store.put(b"")
    assert new
    assert store.read_blob(digest, 0) == b""


def test_a_missing_blob_is_named(store: Store) -> None:
    with pytest.raises(BlobMissing, match=f"^blob {DIGEST} not found; upload it first$"):
        store.read_blob(DIGEST, 1)
    with pytest.raises(BlobMissing):
        store.pin([DIGEST])


def test_a_blob_that_should_be_small_is_not_read_past_its_limit(store: Store) -> None:
    store.put(DATA)
    with pytest.raises(BadManifest, match="more than the 9 bytes"):
        store.read_blob(DIGEST, 9)


def test_a_blob_in_pieces(store: Store) -> None:
    with store.incoming() as incoming:
        incoming.write(DATA[:3])
        assert incoming.size == 3
        assert not store.has(DIGEST)
        incoming.write(DATA[3:])
        assert incoming.publish(DIGEST) == (DIGEST, True)
    assert store.read_blob(DIGEST, 100) == DATA


def test_what_is_not_published_is_removed(store: Store) -> None:
    with store.incoming() as incoming:
        incoming.write(DATA)
        assert len(blobs_in(store)) == 1
    assert blobs_in(store) == set()
    with pytest.raises(TypeError), store.incoming() as incoming:
        incoming.write("text")
    assert blobs_in(store) == set()


def test_bytes_of_another_digest_are_not_published(store: Store) -> None:
    other = Digest.of(b"other")
    with store.incoming() as incoming:
        incoming.write(DATA)
        with pytest.raises(DigestMismatch, match=f'^digest mismatch, expected "{other}", got "{DIGEST}"$'):
            incoming.publish(other)
    assert blobs_in(store) == set()


def test_a_blob_that_was_cut_off_is_replaced(store: Store) -> None:
    store.put(DATA)
    store.blob(DIGEST).write_bytes(DATA[:4])
    assert store.put(DATA) == (DIGEST, True)
    assert store.read_blob(DIGEST, 100) == DATA


def test_a_file_is_adopted_and_stays_where_it_is(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "weights.gguf"
    source.write_bytes(DATA * 300_000)
    with store.pin() as pins:
        digest = store.adopt(source, pins)
        inode = store.blob(digest).stat().st_ino
        assert store.adopt(source, pins) == digest
    assert source.read_bytes() == store.blob(digest).read_bytes()
    assert store.blob(digest).stat().st_ino == inode
    source.write_bytes(DATA)
    assert store.adopt(source) == DIGEST
    with pytest.raises(LoadFailed, match=r"^the weights cannot be read: No such file or directory$"):
        store.adopt(tmp_path / "nothing")


def test_a_whole_download_becomes_a_blob(store: Store) -> None:
    path = store.partial(DIGEST)
    assert path.name == f"sha256-{DIGEST.hex}-partial"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert not store.has(DIGEST)
    with store.pin() as pins:
        store.publish_partial(DIGEST, len(DATA), pins)
    assert blobs_in(store) == {f"sha256-{DIGEST.hex}"}
    path.write_bytes(DATA)
    store.publish_partial(DIGEST, len(DATA))
    assert blobs_in(store) == {f"sha256-{DIGEST.hex}"}


@pytest.mark.parametrize(
    ("data", "size", "error"),
    [(b"others", 6, DigestMismatch), (DATA[:5], len(DATA), DigestMismatch), (DATA, 11, BadManifest)],
)
def test_a_wrong_download_is_removed(store: Store, data: bytes, size: int, error: type[RemudaError]) -> None:
    path = store.partial(DIGEST)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(error):
        store.publish_partial(DIGEST, size)
    assert blobs_in(store) == set()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b"])
def test_a_name_that_was_never_parsed_leaves_the_folder_no_more_than_others(store: Store, name: str) -> None:
    put_model(store, "m")
    before = tree(store.root.parent)
    bad = ModelName(model=name)
    for ask in (store.find, store.cased, store.delete, lambda bad: store.copy(parse_name("m"), bad)):
        with pytest.raises(BadRequest, match="invalid model name"):
            ask(bad)
    assert tree(store.root.parent) == before


def test_files_and_folders_have_the_protocols_permissions(store: Store) -> None:
    before = os.umask(0o022)
    try:
        put_model(store, "m")
        assert _modes(store) == {0o644, 0o755}
    finally:
        os.umask(before)


def test_the_umask_is_respected(store: Store) -> None:
    before = os.umask(0o077)
    try:
        put_model(store, "m")
        assert _modes(store) == {0o600, 0o700}
    finally:
        os.umask(before)


def _modes(store: Store) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in (store.root, *store.root.rglob("*"))}


def test_errors_of_the_disk_say_what_to_do_and_hold_no_path(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    store = Store(tmp_path / "models")
    with pytest.raises(RemudaError) as caught:
        store.put(DATA)
    assert str(tmp_path) not in str(caught.value)
    assert "disk is full" in str(disk_error(OSError(28, "No space left on device", "/secret")))
    assert "permissions" in str(disk_error(PermissionError(13, "Permission denied", "/secret")))
    assert str(disk_error(OSError("strange"))) == "the models' folder cannot be used: OSError"


def test_a_model_of_thousands_of_layers_does_not_run_into_the_limit_of_open_files(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the hard limit of open files is too low")
    code = """
import resource, sys
from pathlib import Path
from remuda.model import Digest, Store
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
store = Store(Path(sys.argv[1]))
digests = [store.put(str(number).encode())[0] for number in range(200)]
with store.pin(digests):
    print("all")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    store.pin(digests)
except Exception as error:
    print(type(error).__name__, error)
with store.pin(digests[:20]):
    print("and on")
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "all",
        "RemudaError too many files are open: raise the limit of open files (ulimit -n)",
        "and on",
    ]


def test_a_file_in_the_root_becomes_a_blob_without_being_copied(store: Store) -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    path = store.root / ".tmp-made"
    path.write_bytes(DATA)
    inode = path.stat().st_ino
    with store.pin() as pins:
        assert store.take(path, pins) == DIGEST
        assert not path.exists()
        assert store.blob(DIGEST).stat().st_ino == inode
    path.write_bytes(DATA)
    assert store.take(path) == DIGEST
    assert not path.exists()


def test_taking_in_a_large_file_can_be_given_up(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(3_000_000))
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RequestCancelled("the client left")

    with pytest.raises(RequestCancelled):
        store.adopt(source, check=check)
    assert list((store.root / "blobs").iterdir()) == []
