"""Whatever happens while a model is being made: it is the old one or the new one afterwards, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, to_thread
from creating import bench, tree
from tiny_models import write_tiny_llama

from remuda.errors import ModelNotFound
from remuda.model import Digest, ModelName, parse_name
from remuda.model.store import Store
from remuda.plugins import Plugins

CHILD = Path(__file__).parents[1] / "support" / "creating_child.py"
namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0,
    reason="needs user namespaces",
)


def child(folder: Path, *requests: dict[str, Any], failpoint: str = "", before: str = "") -> tuple[int, list[Any]]:
    """How it ended, and what it told of each request. `before` is a shell command that runs first."""
    texts = [json.dumps(request) for request in requests]
    command = [sys.executable, str(CHILD), str(folder), *texts]
    if before:
        command = ["unshare", "-rm", "sh", "-c", f'{before} && exec "$@"', "sh", *command]
    environment = {**os.environ, "REMUDA_FAILPOINTS": failpoint, "PYTHONPATH": str(CHILD.parent)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failpoint", "after"),
    [
        ("blob.write", "old"),
        ("blob.fsync", "old"),
        ("blob.rename", "old"),
        ("blob.renamed", "old"),
        ("manifest.write", "old"),
        ("manifest.rename", "old"),
        ("manifest.renamed", "new"),
    ],
)
async def test_killed_at_any_point(tmp_path: Path, plugins: Plugins, failpoint: str, after: str) -> None:
    weights = write_tiny_llama(tmp_path / "llama.gguf").read_bytes()
    async with bench(tmp_path, plugins) as made:
        await made.create(files={"a.gguf": await made.upload(weights)}, system="old", parameters={"seed": 1})
        code, _ = child(tmp_path, {"base": "made", "system": "new"}, failpoint=f"{failpoint}=kill")
        assert code == -9
        assert made.texts() == {"system": after, "params": '{"seed":1}'}
        assert made.layers()[0] == ("model", weights)
        await made.create(base="made", system="newer")
        assert made.texts() == {"system": "newer", "params": '{"seed":1}'}
        assert (await made.find()).system == "newer"


@pytest.mark.parametrize("failpoint", ["blob.write", "blob.fsync", "manifest.write"])
def test_a_disk_that_says_it_is_full(tmp_path: Path, failpoint: str) -> None:
    weights = str(write_tiny_llama(tmp_path / "llama.gguf"))
    code, told = child(tmp_path, {"upload": weights, "system": "old"})
    assert (code, told[0][0]) == (0, "success")
    code, told = child(tmp_path, {"base": "made", "system": "new"}, failpoint=f"{failpoint}=enospc")
    assert code == 0
    ((outcome, before, after),) = told
    assert outcome == "500 the disk is full: free some space where the models are kept, and try again"
    if failpoint == "manifest.write":  # what was written for it waits for the next sweep
        after = {path: digest for path, digest in after.items() if path in before}
    assert after == before


@namespaces
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    small, large = write_tiny_llama(tmp_path / "small.gguf"), tmp_path / "large.gguf"
    large.write_bytes(small.read_bytes() + os.urandom(2 * 1024 * 1024))
    disk = tmp_path / "disk"
    disk.mkdir()
    code, told = child(
        disk,
        {"upload": str(small), "system": "old"},
        {"outside": str(large), "base": "outside", "system": "new"},
        {"base": "made", "system": "new"},
        before=f"mount -t tmpfs -o size=1m tmpfs '{disk}'",
    )
    assert code == 0
    assert [outcome for outcome, _, _ in told] == [
        "success",
        "500 the disk is full: free some space where the models are kept, and try again",
        "success",
    ]
    _, before, after = told[1]
    assert after == before


def test_what_a_killed_process_left_is_removed_by_a_sweep(tmp_path: Path) -> None:
    weights = str(write_tiny_llama(tmp_path / "llama.gguf"))
    assert child(tmp_path, {"upload": weights, "system": "old"})[0] == 0
    root = tmp_path / "models"
    before = tree(root)
    assert child(tmp_path, {"base": "made", "system": "new"}, failpoint="manifest.rename=kill")[0] == -9
    left = set(tree(root)) - set(before)
    assert left
    for path in left:
        os.utime(root / path, (0, 0))
    Store(root).sweep()
    assert tree(root) == before


@pytest.mark.anyio
async def test_many_at_once_get_in_nobody_s_way(tmp_path: Path, plugins: Plugins) -> None:
    """Each model is made again and again from another, whose parts are let go of and needed anew all the time."""
    weights = write_tiny_llama(tmp_path / "llama.gguf").read_bytes()
    async with bench(tmp_path, plugins) as made:
        await made.create(model="base", files={"a.gguf": await made.upload(weights)}, system="0")

        async def again(name: str) -> None:
            for number in range(6):
                await made.create(model=name, base="base", system=str(number % 3), parameters={"seed": number})
                with suppress(ModelNotFound):
                    await to_thread.run_sync(made.store.delete, parse_name("gone"))

        async with create_task_group() as group:
            for name in ("one", "two", "one", "gone", "gone"):
                group.start_soon(again, name)
        for name in ("one", "two"):
            assert made.texts(name) == {"system": "2", "params": '{"seed":5}'}
            assert made.layers(name)[0] == ("model", weights)
        named = {digest.hex for name in made.store.names() for digest in _digests(made.store, name)}
        assert {path.name.removeprefix("sha256-") for path in (made.root / "blobs").iterdir()} == named


def _digests(store: Store, name: ModelName) -> list[Digest]:
    stored = store.find(name)
    assert stored is not None
    return stored.manifest.digests
