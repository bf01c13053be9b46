"""Pulls whose process is killed, and pulls onto a full disk (S31, S32)."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.to_thread import run_sync
from pulling import digest, pulled, puller, pulling
from registry import MODEL, Fault, Registry

from remuda.model import parse_name
from remuda.model.manifest import LICENSE
from remuda.model.store import Store

_TINY = "library/tiny:latest"
_WEIGHTS = random.Random(6).randbytes(5_000_000)
_BLOB = digest(_WEIGHTS)

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: _WEIGHTS})
        yield registry


def _unshare_works() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    )


async def _until_exists(path: Path) -> None:
    async with asyncio.timeout(10):
        while not await run_sync(path.exists):
            await asyncio.sleep(0.02)


async def test_a_killed_download_goes_on_where_it_was(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(stall=4_500_000))
    command, environment = puller(tmp_path, registry.name(_TINY))
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    notes = tmp_path / "models" / "blobs" / f"sha256-{_BLOB.hex}-partial-0"
    await _until_exists(notes)
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    completed = json.loads(notes.read_text())["Completed"]
    assert completed >= 1024 * 1024
    async with pulling(tmp_path) as (store, transfers):
        assert store.names() == []
        events = await pulled(transfers, registry.name(_TINY))
        assert store.read_blob(_BLOB, 10**8) == _WEIGHTS
    assert next(event for event in events if event.digest == str(_BLOB)).completed == completed
    assert registry.seen("GET blob")[1].headers["range"] == f"bytes={completed}-{len(_WEIGHTS) - 1}"
    assert [path.name for path in notes.parent.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    "place", ["blob.fsync", "blob.rename", "blob.renamed", "manifest.write", "manifest.rename", "manifest.renamed"]
)
async def test_a_killed_pull_leaves_the_old_model_or_the_new_one(
    registry: Registry, tmp_path: Path, place: str
) -> None:
    old = registry.add_model(_TINY, {MODEL: b"old weights", LICENSE: b"text"})
    async with pulling(tmp_path) as (_, transfers):
        await pulled(transfers, registry.name(_TINY))
    new = registry.add_model(_TINY, {MODEL: _WEIGHTS[:100_000], LICENSE: b"text"})
    command, environment = puller(tmp_path, registry.name(_TINY), REMUDA_FAILPOINTS=f"{place}=kill")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    store = Store(tmp_path / "models")
    store.sweep()
    found = store.find(parse_name(registry.name(_TINY)))
    assert found is not None
    assert found.data in {old, new}
    assert (found.data == new) == (place == "manifest.renamed")
    for each in found.manifest.digests:
        store.verify(each)
    async with pulling(tmp_path) as (store, transfers):
        await pulled(transfers, registry.name(_TINY))
        found = store.find(parse_name(registry.name(_TINY)))
        assert found is not None
        assert found.data == new


async def test_no_room_for_the_manifest(registry: Registry, tmp_path: Path) -> None:
    old = registry.add_model(_TINY, {MODEL: b"old weights"})
    async with pulling(tmp_path) as (_, transfers):
        await pulled(transfers, registry.name(_TINY))
    registry.add_model(_TINY, {MODEL: b"new weights"})
    command, environment = puller(tmp_path, registry.name(_TINY), REMUDA_FAILPOINTS="manifest.write=enospc")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    assert told.decode().splitlines()[-1].startswith("error: the disk is full")
    store = Store(tmp_path / "models")
    found = store.find(parse_name(registry.name(_TINY)))
    assert found is not None
    assert found.data == old
    assert not [
        path for path in (tmp_path / "models" / "manifests").rglob("*") if path.is_file() and not path.stat().st_size
    ]


_FULL = """
    import os, subprocess, sys
    from pathlib import Path

    folder, command = Path(sys.argv[1]), sys.argv[2:]
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)

    def pull():
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]

    print(pull())
    blobs = folder / "models" / "blobs"
    print(sum(path.stat().st_blocks for path in blobs.glob("*-partial")) * 512)
    subprocess.run([*mount[:4], "remount,size=16m", *mount[5:]], check=True)
    print(pull())
    print(sorted(path.name for path in blobs.iterdir()))
"""


@pytest.mark.skipif(not _unshare_works(), reason="needs user namespaces")
async def test_a_disk_that_is_really_full(registry: Registry, tmp_path: Path) -> None:
    """It is said at once, what came is kept, and with more room the pull goes on from there."""
    # Slow enough for what came to be noted while there was room for notes.
    registry.fail("GET blob", Fault(trickle=0.0001))
    command, environment = puller(tmp_path, registry.name(_TINY))
    script = [sys.executable, "-c", textwrap.dedent(_FULL), str(tmp_path), *command]
    process = await asyncio.create_subprocess_exec(
        "unshare", "-rm", *script, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    full, kept, success, blobs = out.decode().splitlines()
    assert full == "error: the disk is full: free some space where the models are kept, and try again"
    assert int(kept) >= 1024 * 1024
    assert success == '{"status":"success"}'
    assert "partial" not in blobs
    assert _BLOB.hex in blobs
    assert registry.sent("GET blob") < 2 * len(_WEIGHTS)
