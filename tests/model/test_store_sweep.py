from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import HOUR, blobs_in, make_older, manifest_path, put_model, tree

from remuda.errors import LoadFailed, RemudaError
from remuda.model import Digest, Store, parse_name

LEFT = [
    "sha256-" + "0" * 64 + "-partial",
    "sha256-" + "0" * 64 + "-partial-0",
    "sha256-" + "0" * 64 + "-damaged",
    "sha256-tmp-0123",
    "sha256-123456789",
    "sha256:" + "0" * 63,
    "sha256-" + "A" * 64,
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "models")
    put_model(store, "m")
    return store


def test_blobs_without_a_model_go_after_an_hour(store: Store) -> None:
    before = blobs_in(store)
    store.put(b"unused")
    make_older(store.root / "blobs", HOUR - 60)
    store.sweep()
    assert len(blobs_in(store)) == 3
    make_older(store.root / "blobs", 120)
    store.put(b"new")
    store.sweep()
    assert blobs_in(store) == before | {store.blob(Digest.of(b"new")).name}


def test_unfinished_files_go_after_a_day(store: Store) -> None:
    before = blobs_in(store)
    manifests = store.root / "manifests"
    paths = [*(store.root / "blobs" / name for name in LEFT), manifests / ".tmp-0123", store.root / ".tmp-0123"]
    for path in paths:
        path.write_bytes(b"left")
    make_older(store.root, 23 * HOUR)
    store.sweep()
    assert all(path.exists() for path in paths)
    make_older(store.root, 2 * HOUR)
    store.sweep()
    assert not any(path.exists() for path in paths)
    assert blobs_in(store) == before
    assert [str(name) for name in store.names()] == ["m:latest"]


def test_files_that_are_nobodys_stay(store: Store) -> None:
    for name in ("README", ".DS_Store", "sha512-" + "0" * 64):
        (store.root / "blobs" / name).write_text("mine")
    (store.root / "notes").write_text("mine")
    make_older(store.root, 1000 * HOUR)
    before = tree(store.root)
    store.sweep()
    assert tree(store.root) == before


def test_empty_folders_go(store: Store) -> None:
    (store.root / "manifests" / "a" / "b" / "c").mkdir(parents=True)
    (store.root / "manifests" / "d" / "e").mkdir(parents=True)
    (store.root / "manifests" / "f").mkdir()
    manifest_path(store, "n").parent.mkdir()
    store.sweep()
    assert [path.name for path in (store.root / "manifests").iterdir()] == ["registry.ollama.ai"]
    assert [path.name for path in manifest_path(store, "m").parent.parent.iterdir()] == ["m"]


def test_nothing_goes_while_a_manifest_is_corrupt(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put_model(store, "corrupt", [("model", b"other")])
    manifest_path(store, "corrupt").write_bytes(b"{")
    make_older(store.root, 100 * HOUR)
    before = blobs_in(store)
    store.sweep()
    assert blobs_in(store) == before
    assert "corrupt:latest" in caplog.text


def test_nothing_goes_without_prune(store: Store) -> None:
    store = Store(store.root, prune=False)
    store.put(b"unused")
    (store.root / "manifests" / "a").mkdir()
    make_older(store.root, 100 * HOUR)
    before = blobs_in(store)
    store.sweep()
    assert blobs_in(store) == before
    assert (store.root / "manifests" / "a").exists()


@pytest.mark.parametrize("prune", [True, False])
def test_old_names_of_blobs_become_new_ones(store: Store, prune: bool) -> None:
    weights, template = Digest.of(b"weights"), Digest.of(b"{{ .Prompt }}")
    put_model(store, "m", [("model", b"weights"), ("template", b"{{ .Prompt }}")])
    expected = blobs_in(store)
    for digest in (weights, template):
        store.blob(digest).rename(store.root / "blobs" / str(digest))
        assert store.has(digest)
        assert store.blob(digest).name == str(digest)
        store.verify(digest)
    assert store.read_blob(template, 100) == b"{{ .Prompt }}"
    assert store.put(b"weights") == (weights, False)
    (store.root / "blobs" / f"sha256-{template.hex}").write_bytes(b"{{ .Prompt }}")
    Store(store.root, prune=prune).sweep()
    assert blobs_in(store) == expected
    assert store.read_blob(template, 100) == b"{{ .Prompt }}"


def test_blobs_under_their_old_names_go_too(store: Store) -> None:
    weights = Digest.of(b"weights")
    store.blob(weights).rename(store.root / "blobs" / str(weights))
    store.delete(parse_name("m"))
    assert blobs_in(store) == set()


def test_a_manifest_written_by_another_program_keeps_its_blobs(store: Store) -> None:
    digest, _ = store.put(b"other weights")
    path = manifest_path(store, "x/y/z:t")
    path.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "size": 13, "digest": f"sha256-{digest.hex.upper()}"}
    config = {"mediaType": "", "size": 0, "digest": "sha256:" + "0" * 64}
    path.write_text(json.dumps({"layers": [layer], "config": config}))
    make_older(store.root, 100 * HOUR)
    store.sweep()
    assert store.has(digest)


@pytest.fixture
def foreign() -> Iterator[Store]:
    """A store that this process may read but not write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = Store(Path(folder) / "models")
        put_model(store, "m")
        store.put(b"unused")
        (store.root / "remuda-verified.json").unlink()
        make_older(store.root, 100 * HOUR)
        folders = [path for path in (store.root, *store.root.rglob("*")) if path.is_dir()]
        for path in folders:
            path.chmod(0o555)
        user = os.geteuid()
        try:
            os.seteuid(65534 if user == 0 else user)  # root may write everywhere
            yield Store(store.root)
        finally:
            os.seteuid(user)
            for path in folders:
                path.chmod(0o755)


def test_a_folder_that_cannot_be_written_can_be_read(foreign: Store) -> None:
    before = tree(foreign.root)
    foreign.sweep()
    assert foreign.find(parse_name("m")) is not None
    weights = Digest.of(b"weights")
    with foreign.pin([weights]):
        foreign.verify(weights)
    for change in (
        lambda: foreign.put(b"new"),
        lambda: foreign.delete(parse_name("m")),
        lambda: foreign.copy(parse_name("m"), parse_name("n")),
    ):
        with pytest.raises(RemudaError, match="the models' folder refuses access: check its permissions"):
            change()
    assert tree(foreign.root) == before


def test_a_damaged_blob_in_a_folder_that_cannot_be_written_is_not_used_either(foreign: Store) -> None:
    weights = Digest.of(b"weights")
    user = os.geteuid()
    os.seteuid(os.getuid())
    foreign.blob(weights).write_bytes(b"Weights")
    os.seteuid(user)
    for _ in range(2):
        with pytest.raises(LoadFailed, match="damaged"):
            foreign.verify(weights)


def test_faults_are_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    (store.root / "remuda.lock").unlink()
    (store.root / "remuda.lock").symlink_to("remuda.lock")
    with caplog.at_level(logging.WARNING):
        store.sweep()
    assert "was not cleaned up" in caplog.text
    assert str(store.root) not in caplog.text
