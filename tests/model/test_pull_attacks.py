"""Registries that mean harm (O2, O3, O15, O16)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pulling import pulled, pulling, tree
from registry import MODEL, Fault, Registry, gzip_bomb, hostile_manifests

from remuda.errors import RemudaError
from remuda.model.transfer import RegistryError

_TINY = "library/tiny:latest"
_MB = 1024 * 1024

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        yield registry


class _Peak:
    """How much memory this process takes more than before, at most; bytes."""

    def __enter__(self) -> _Peak:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._read("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.grown = self._read("VmHWM") - self._before

    def _read(self, key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


@pytest.mark.parametrize("what", sorted(hostile_manifests()))
async def test_hostile_manifests(registry: Registry, tmp_path: Path, what: str) -> None:
    """One error, nothing outside the store is touched, and the next pull works."""
    canary = tmp_path / "canary"
    canary.write_text("alive")
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    before = tree(tmp_path)
    registry.add_manifest("library/evil:latest", hostile_manifests()[what])
    async with pulling(tmp_path) as (_, transfers):
        with pytest.raises(RemudaError) as error:
            await pulled(transfers, registry.name("library/evil"))
        assert len(error.value.message) < 500
        assert str(tmp_path) not in error.value.message
        assert tree(tmp_path) == before
        assert (await pulled(transfers, registry.name(_TINY)))[-1].status == "success"
    assert canary.read_text() == "alive"
    assert {name.partition("/")[0] for name in tree(tmp_path)} == {"canary", "models"}


async def test_names_of_blobs_in_the_cleaning_up_after_a_mismatch(registry: Registry, tmp_path: Path) -> None:
    """O3: the digest is a good one, the bytes are not."""
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    for canary in ("canary", "models/canary", "models/blobs/sha256-canary"):
        (tmp_path / canary).write_text("alive")
    before = tree(tmp_path)
    registry.fail("GET blob", Fault(corrupt=True))
    async with pulling(tmp_path) as (_, transfers):
        with pytest.raises(RegistryError, match="digest mismatch"):
            await pulled(transfers, registry.name(_TINY))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["GET manifest", "GET token"])
@pytest.mark.parametrize("how", ["gzip", "unsaid gzip", "endless", "endless error"])
async def test_memory_has_a_bound(tmp_path: Path, kind: str, how: str) -> None:
    """O15."""
    bomb = gzip_bomb(10 * 2**30)
    fault = {
        "gzip": Fault(status=200, body=bomb, headers={"Content-Encoding": "gzip"}),
        "unsaid gzip": Fault(status=200, body=bomb),
        "endless": Fault(status=200, endless=True),
        "endless error": Fault(status=418, endless=True),
    }[how]
    with Registry(auth="token") as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        registry.fail(kind, fault)
        async with pulling(tmp_path) as (_, transfers):
            with _Peak() as peak, pytest.raises(RegistryError):
                await pulled(transfers, registry.name(_TINY))
            assert peak.grown < 32 * _MB
            assert (await pulled(transfers, registry.name(_TINY)))[-1].status == "success"


async def test_a_blob_that_never_ends(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(endless=True))
    async with pulling(tmp_path) as (_, transfers):
        with _Peak() as peak, pytest.raises(RegistryError, match="digest mismatch"):
            await pulled(transfers, registry.name(_TINY))
    assert peak.grown < 32 * _MB
    assert registry.sent("GET blob") < 16 * _MB


async def test_a_large_blob_takes_little_memory(registry: Registry, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    with weights.open("wb") as file:
        file.truncate(96 * _MB)
    registry.add_model(_TINY, {MODEL: weights})
    async with pulling(tmp_path) as (_, transfers):
        with _Peak() as peak:
            await pulled(transfers, registry.name(_TINY))
    assert peak.grown < 32 * _MB


async def test_a_compressed_blob_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET blob", Fault(headers={"Content-Encoding": "gzip"}))
    async with pulling(tmp_path) as (_, transfers):
        with pytest.raises(RegistryError, match="sent a compressed reply"):
            await pulled(transfers, registry.name(_TINY))
