from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_engine import ToyBackend, write_toy

from remuda.model import ModelEntry, parse_name


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a `ToyEngine`."""
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.bin")


@pytest.fixture(scope="session")
def toy_entry(toy: Path) -> ModelEntry:
    return ModelEntry(name=parse_name("toy"), weights=toy, format="toy")


@pytest.fixture(scope="class")
def toy_backend() -> Iterator[ToyBackend]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
        yield ToyBackend()
