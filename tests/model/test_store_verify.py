from __future__ import annotations

import os
from pathlib import Path

import pytest
from stored import blobs_in, put_model

from remuda.errors import LoadFailed
from remuda.model import Digest, Store, parse_name
from remuda.model.store import verified

DATA = b"weights" * 1000
DIGEST = Digest.of(DATA)


class Hashed:
    """Counts the files that were hashed to verify them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from remuda.model.store import blobs

        self.count = 0
        really = blobs.hashlib.file_digest

        def counted(*arguments: object) -> object:
            self.count += 1
            return really(*arguments)

        patch.setattr(blobs.hashlib, "file_digest", counted)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Hashed:
    return Hashed(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def _flip(store: Store) -> None:
    """One bit is another one, and the file says it was not touched since."""
    path = store.blob(DIGEST)
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(3000)
        byte = file.read(1)[0]
        file.seek(3000)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_this_process_published_is_known(store: Store, hashed: Hashed) -> None:
    store.put(DATA)
    store.verify(DIGEST)
    assert hashed.count == 0


def test_each_state_of_a_file_is_hashed_once_across_restarts(store: Store, hashed: Hashed) -> None:
    path = store.blob(DIGEST)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    store.verify(DIGEST)
    store.verify(DIGEST)
    Store(store.root).verify(DIGEST)
    assert hashed.count == 1
    os.utime(path)
    Store(store.root).verify(DIGEST)
    assert hashed.count == 2


def test_what_another_process_saved_is_kept(store: Store, hashed: Hashed) -> None:
    other = Store(store.root)
    other.verify(other.put(b"other")[0])
    put_model(store, "m", [("model", DATA)])
    put_model(other, "n", [("model", b"more")])
    third = Store(store.root)
    for digest in (DIGEST, Digest.of(b"other"), Digest.of(b"more")):
        third.verify(digest)
    assert hashed.count == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_blob_is_put_aside_and_can_be_had_again(store: Store, known: bool) -> None:
    put_model(store, "m", [("model", DATA)])
    _flip(store)
    if not known:
        store = Store(store.root)
        (store.root / "remuda-verified.json").unlink()
    with pytest.raises(LoadFailed, match=r"damaged.*pull the model or create it again") as caught:
        store.verify(DIGEST)
    assert str(store.root) not in str(caught.value)
    assert not store.has(DIGEST)
    assert f"sha256-{DIGEST.hex}-damaged" in blobs_in(store)
    with pytest.raises(LoadFailed, match="not there: pull the model or create it again"):
        store.verify(DIGEST)
    assert [str(name) for name in store.names()] == ["m:latest"]
    assert store.put(DATA) == (DIGEST, True)
    store.verify(DIGEST)


def test_a_blob_that_was_cut_off_is_damaged(store: Store) -> None:
    store.put(DATA)
    os.truncate(store.blob(DIGEST), 10)
    with pytest.raises(LoadFailed, match="damaged"):
        store.verify(DIGEST)


def test_a_small_blob_is_checked_when_it_is_read(store: Store) -> None:
    store.put(DATA)
    _flip(store)
    with pytest.raises(LoadFailed, match="damaged"):
        store.read_blob(DIGEST, 100_000)
    assert not store.has(DIGEST)


NOTES = {
    "empty": b"",
    "half": b'{"version":1,"blobs":{',
    "another type": b'{"version":1,"blobs":{"00":[1,2,3]}}',
    "another version": b'{"version":2,"blobs":{}}',
    "not UTF-8": b'{"version":1,"\xff',
    "deep": b"[" * 100_000,
    "too long": b" " * 5_000_000,
}


@pytest.mark.parametrize("notes", NOTES.values(), ids=NOTES.keys())
def test_damaged_notes_cost_time_only(store: Store, hashed: Hashed, notes: bytes) -> None:
    put_model(store, "m", [("model", DATA)])
    file = store.root / "remuda-verified.json"
    file.write_bytes(notes)
    again = Store(store.root)
    again.verify(DIGEST)
    assert hashed.count == 1
    Store(store.root).verify(DIGEST)
    assert hashed.count == 1
    assert str(DIGEST.hex).encode() in file.read_bytes()


def test_notes_that_cannot_be_written_cost_time_only(store: Store, hashed: Hashed) -> None:
    store.put(DATA)
    os.utime(store.blob(DIGEST))
    (store.root / "remuda-verified.json").mkdir()
    store.verify(DIGEST)
    store.verify(DIGEST)
    assert hashed.count == 1
    Store(store.root).verify(DIGEST)
    assert hashed.count == 2
    assert not list(store.root.glob(".tmp-*"))


def test_notes_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch, hashed: Hashed) -> None:
    monkeypatch.setattr(verified, "_MOST", 3)
    for number in range(6):
        put_model(store, "m", [("model", str(number).encode())])
        store.delete(parse_name("m"))
    put_model(store, "m", [("model", DATA)])
    Store(store.root).verify(DIGEST)
    assert hashed.count == 0
    assert (store.root / "remuda-verified.json").stat().st_size < 600
