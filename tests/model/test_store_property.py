"""Whatever several threads do to a store, at the same time: what is listed is whole, and nothing else stays."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings, strategies as st
from stored import HOUR, blobs_in, make_older, put_model

from remuda.errors import ModelNotFound
from remuda.model import BlobMissing, Digest, Store, parse_name
from remuda.model.store import Pins

NAMES = ("a", "A", "me/b:1", "me/B:2", "host:1/me/b")
TEXTS = (b"", b"one", b"two" * 100)

names, texts = st.sampled_from(NAMES), st.sampled_from(TEXTS)
actions = st.one_of(
    st.tuples(st.just("create"), names, texts, texts),
    st.tuples(st.just("copy"), names, names),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("put"), texts),
    st.tuples(st.just("abandon"), texts),
    st.tuples(st.just("pin"), texts),
    st.tuples(st.just("unpin")),
    st.tuples(st.just("sweep")),
)


class Actor:
    """One thread's share."""

    def __init__(self, root: Path, shared: Store, own: bool) -> None:
        self.store = Store(root) if own else shared
        self.held: list[tuple[Pins, bytes]] = []

    def run(self, todo: list[tuple[object, ...]], begin: threading.Barrier) -> None:
        begin.wait()
        for action, *arguments in todo:
            getattr(self, str(action))(*arguments)
            for _, text in self.held:
                assert self.store.blob(Digest.of(text)).read_bytes() == text
        for pins, _ in self.held:
            pins.close()

    def create(self, name: str, weights: bytes, template: bytes) -> None:
        put_model(self.store, name, [("model", weights), ("template", template)])

    def copy(self, source: str, destination: str) -> None:
        with suppress(ModelNotFound):
            self.store.copy(parse_name(source), parse_name(destination))

    def delete(self, name: str) -> None:
        with suppress(ModelNotFound):
            self.store.delete(parse_name(name))

    def put(self, text: bytes) -> None:
        self.store.put(text)

    def abandon(self, text: bytes) -> None:
        with self.store.incoming() as incoming:
            incoming.write(text)

    def pin(self, text: bytes) -> None:
        with suppress(BlobMissing):
            self.held.append((self.store.pin([Digest.of(text)]), text))

    def unpin(self) -> None:
        if self.held:
            self.held.pop()[0].close()

    def sweep(self) -> None:
        with suppress(FileNotFoundError):  # somebody else was faster than the search for files to make older
            make_older(self.store.root, 25 * HOUR)
        self.store.sweep()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(actions, min_size=3, max_size=12), min_size=1, max_size=4))
def test_what_is_listed_is_whole_and_nothing_else_stays(todos: list[list[tuple[object, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        store = Store(root)
        actors = [Actor(root, store, own=number % 2 == 1) for number in range(len(todos))]
        begin = threading.Barrier(len(actors))
        with ThreadPoolExecutor(len(actors)) as threads:
            for done in [threads.submit(actor.run, todo, begin) for actor, todo in zip(actors, todos, strict=True)]:
                done.result()

        fresh = Store(root)
        used: set[str] = set()
        keys: list[str] = []
        for name in fresh.names():
            found = fresh.find(name)
            assert found is not None
            keys.append(name.key)
            for digest in found.manifest.digests:
                assert Digest.of(fresh.blob(digest).read_bytes()) == digest
                used.add(fresh.blob(digest).name)
        assert len(keys) == len(set(keys))
        make_older(root, 25 * HOUR)
        fresh.sweep()
        assert blobs_in(fresh) == used
        if keys:
            assert {path.name for path in root.iterdir()} <= {
                "blobs",
                "manifests",
                "remuda.lock",
                "remuda-verified.json",
            }
