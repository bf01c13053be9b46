"""Locks between processes: real ones."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_actions import command, run
from stored import HOUR, blobs_in, make_older, put_model

from remuda.errors import ModelNotFound
from remuda.model import Digest, Store, parse_name

WEIGHTS = Digest.of(b"weights")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "models")
    put_model(store, "m")
    return store


@contextmanager
def _another(store: Store, digest: Digest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the blob."""
    with subprocess.Popen(
        command(store, "pin", str(digest)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "pinned\n"
            yield process
        finally:
            process.kill()


def test_a_blob_that_another_process_holds_stays(store: Store) -> None:
    with _another(store, WEIGHTS) as process:
        store.delete(parse_name("m"))
        assert store.names() == []
        assert blobs_in(store) == {f"sha256-{WEIGHTS.hex}"}
        make_older(store.root, 2 * HOUR)
        store.sweep()
        assert store.has(WEIGHTS)
        process.communicate("\n")
    store.sweep()
    assert blobs_in(store) == set()


def test_a_process_that_was_killed_holds_nothing(store: Store) -> None:
    with _another(store, WEIGHTS) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        store.delete(parse_name("m"))
    assert blobs_in(store) == set()


def test_a_blob_goes_with_the_last_who_holds_it(store: Store) -> None:
    first, second = store.pin([WEIGHTS]), store.pin([WEIGHTS])
    second.add(WEIGHTS)
    store.delete(parse_name("m"))
    first.close()
    assert blobs_in(store) == {f"sha256-{WEIGHTS.hex}"}
    assert store.blob(WEIGHTS).read_bytes() == b"weights"
    second.close()
    assert blobs_in(store) == set()
    second.close()


def test_a_blob_that_got_a_model_again_stays(store: Store) -> None:
    with store.pin([WEIGHTS]):
        store.delete(parse_name("m"))
        put_model(store, "n")
    assert store.has(WEIGHTS)


def test_a_blob_that_was_put_again_stays(store: Store) -> None:
    with store.pin([WEIGHTS]):
        store.delete(parse_name("m"))
        assert store.put(b"weights") == (WEIGHTS, False)
    assert store.has(WEIGHTS)


def test_what_is_put_is_held_at_once(store: Store) -> None:
    with store.pin() as pins:
        put_model(store, "n", [("model", b"new")])
        digest, new = store.put(b"new", pins)
        assert not new
        store.delete(parse_name("n"))
        assert store.has(digest)
    assert not store.has(digest)


def test_an_unfinished_blob_is_held(store: Store) -> None:
    with store.incoming() as incoming:
        incoming.write(b"slow")
        make_older(store.root, 100 * HOUR)
        store.sweep()
        digest, _ = incoming.publish()
    assert store.read_blob(digest, 10) == b"slow"


def test_pins_that_could_not_be_had_hold_nothing(store: Store) -> None:
    with pytest.raises(Exception, match="not found"):
        store.pin([WEIGHTS, Digest.of(b"missing")])
    store.delete(parse_name("m"))
    assert blobs_in(store) == set()


def test_two_who_write_one_name_in_different_case_make_one_model(store: Store) -> None:
    processes = [
        subprocess.Popen(command(store, "model", name, name), stdout=subprocess.PIPE, text=True)
        for name in ("New", "NEW", "new")
    ]
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 3
    assert sorted(name.key for name in store.names()) == [parse_name("m").key, parse_name("new").key]
    assert len(blobs_in(store)) == 4


def test_many_processes_and_threads_leave_whole_models_and_nothing_else(store: Store) -> None:
    names = "a,b,c"
    processes = [
        subprocess.Popen(command(store, "churn", names, "15"), stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    stop = threading.Event()
    seen: list[str] = []

    def watch() -> None:
        mine = Store(store.root)
        while not stop.is_set():
            for name in mine.names():
                found = mine.find(name)
                with_blobs = found is None or all(mine.has(digest) for digest in found.manifest.digests)
                if not with_blobs and mine.find(name) == found:  # it was there all the time
                    seen.append(str(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outputs = [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes]
    finally:
        stop.set()
        watcher.join()
    # The others may delete a model between its writing and its deleting.
    assert all(output == "done" or output.startswith("ModelNotFound") for output in outputs), outputs
    assert seen == []
    for name in store.names():
        found = store.find(name)
        assert found is not None
        for digest in found.manifest.digests:
            Store(store.root).verify(digest)
    used = {digest for name in store.names() if (found := store.find(name)) for digest in found.manifest.digests}
    make_older(store.root, 2 * HOUR)
    store.sweep()
    assert blobs_in(store) == {f"sha256-{digest.hex}" for digest in used}


def test_another_process_deletes_what_this_one_made(store: Store) -> None:
    assert run(store, "delete", "M").stdout == "done\n"
    assert store.names() == []
    assert blobs_in(store) == set()
    assert run(store, "delete", "m").stdout == "ModelNotFound: model 'm:latest' not found\n"
    with pytest.raises(ModelNotFound):
        store.delete(parse_name("m"))


def test_without_locks_everything_works_and_nothing_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("remuda.model.store.files.fcntl.flock", refused)
    with store.pin([WEIGHTS]):
        assert put_model(store, "m", [("model", b"new")]) == []
    store.delete(parse_name("m"))
    make_older(store.root, 100 * HOUR)
    store.sweep()
    assert store.names() == []
    assert store.has(WEIGHTS)
    store.verify(WEIGHTS)
