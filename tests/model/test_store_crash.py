"""A process that is killed, or that finds the disk full, anywhere on its way."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from store_actions import act, command, run
from stored import HOUR, blobs_in, make_older, put_model, tree

from remuda.errors import RemudaError
from remuda.model import Store, parse_name

BLOB = ("blob.write", "blob.fsync", "blob.rename", "blob.renamed")
MANIFEST = ("manifest.write", "manifest.rename", "manifest.renamed")
ACTIONS = {
    "new": (("model", "new", "n"), BLOB + MANIFEST),
    "replaced": (("model", "M", "n"), BLOB + MANIFEST),
    "copy": (("copy", "m", "new"), MANIFEST),
    "copy over": (("copy", "m", "other"), MANIFEST),
    "download": (("download", "downloaded"), BLOB[1:]),
}
CASES = [(action, point) for action, points in ACTIONS.values() for point in points]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "models")
    put_model(store, "m", [("model", b"weights"), ("template", b"m")])
    put_model(store, "other", [("model", b"weights"), ("template", b"other")])
    return store


def _models(root: Path) -> dict[str, str]:
    """Every model with its digest; each is whole."""
    store = Store(root)
    (store.root / "remuda-verified.json").unlink(missing_ok=True)
    models: dict[str, str] = {}
    for name in store.names():
        found = store.find(name)
        assert found is not None
        for digest in found.manifest.digests:
            store.verify(digest)
        models[str(name)] = found.digest
    return models


def _used(store: Store) -> set[str]:
    models = [found for name in store.names() if (found := store.find(name))]
    return {f"sha256-{digest.hex}" for model in models for digest in model.manifest.digests}


@pytest.mark.parametrize(("action", "point"), CASES, ids=str)
def test_a_killed_process_leaves_the_old_state_or_the_new_one(
    store: Store, tmp_path: Path, action: tuple[str, ...], point: str
) -> None:
    before = _models(store.root)
    shutil.copytree(store.root, tmp_path / "undisturbed")
    act(Store(tmp_path / "undisturbed"), *action)
    after = _models(tmp_path / "undisturbed")

    killed = run(store, *action, failpoints=f"{point}=kill")
    assert killed.returncode == -9, killed
    assert _models(store.root) == (after if point == "manifest.renamed" else before)

    act(Store(store.root), *action)
    assert _models(store.root) == after
    make_older(store.root, 25 * HOUR)
    Store(store.root).sweep()
    assert blobs_in(store) == _used(store)
    assert _models(store.root) == after
    assert not [path for path in tree(store.root) if ".tmp-" in path]


@pytest.mark.parametrize(("action", "point"), [case for case in CASES if not case[1].endswith("renamed")], ids=str)
def test_a_full_disk_changes_nothing(store: Store, action: tuple[str, ...], point: str) -> None:
    before = _models(store.root)
    full = run(store, *action, failpoints=f"{point}=enospc")
    assert full.stdout.startswith("RemudaError: the disk is full: free some space")
    assert str(store.root) not in full.stdout
    assert _models(store.root) == before
    assert not [path for path in tree(store.root) if ".tmp-" in path or "-tmp-" in path]
    act(Store(store.root), *action)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a file system of one megabyte, in a mount namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    script = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, str(tmp_path), *command(tmp_path, "fill")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip("a file system cannot be mounted here")
    assert ran.returncode == 0, ran.stderr
    full = "the disk is full: free some space where the models are kept, and try again"
    assert ran.stdout.splitlines() == [full, full, full, "done"]


def test_a_disk_that_is_full_while_downloads_come_in_hurts_no_one_else(store: Store) -> None:
    with store.incoming() as incoming:
        incoming.write(b"x")
        assert run(store, "model", "n", "n", failpoints="blob.write=enospc").returncode == 3
        digest, _ = incoming.publish()
    assert store.read_blob(digest, 1) == b"x"


def test_a_process_that_is_killed_with_the_lock_in_hand_keeps_nobody_waiting(store: Store) -> None:
    assert run(store, "delete", "m").stdout == "done\n"
    assert run(store, "copy", "other", "m", failpoints="manifest.rename=kill").returncode == -9
    with subprocess.Popen(command(store, "copy", "other", "m"), stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=30)[0] == "done\n"
    with pytest.raises(RemudaError, match="not found"):
        store.delete(parse_name("nothing"))
