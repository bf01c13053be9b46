"""What the server's side knows of a model before it is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_onnx import LAYERS, WIDTH, write_tiny

from remuda import LoadWish, ModelEntry
from remuda.model import parse_name
from remuda_onnx.backend import OnnxBackend

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _entry(weights: Path) -> ModelEntry:
    return ModelEntry(name=parse_name("tiny"), weights=weights, format="onnx")


async def test_an_estimate_counts_weights_and_caches(tmp_path: Path) -> None:
    weights = write_tiny(tmp_path / "tiny", external=True, half=True, key_heads=2)
    backend = OnnxBackend()
    small, large = [
        (await backend.estimate(_entry(weights), LoadWish(context=context, parallel=3))).memory
        for context in (100, 1100)
    ]
    cell = 2 * LAYERS * 2 * WIDTH * 2  # keys and values, layers, heads, numbers, bytes
    assert large - small == 1000 * (3 + 1) * cell
    files = sum(path.stat().st_size for path in weights.parent.iterdir())
    assert small > files + 100 * cell


async def test_an_estimate_of_what_is_no_model_is_no_error(tmp_path: Path) -> None:
    weights = tmp_path / "model.onnx"
    wish = LoadWish(context=100)
    for data in (None, b"", b"\xff" * 100):
        if data is not None:
            weights.write_bytes(data)
        assert (await OnnxBackend().estimate(_entry(weights), wish)).memory > 0


def test_the_server_loads_no_engine() -> None:
    """Neither the plugin nor the backend imports what only the runner needs."""
    code = (
        "import sys, remuda_onnx.plugin, remuda_onnx.backend;"
        "sys.exit(', '.join({'onnxruntime', 'tokenizers', 'numpy'} & sys.modules.keys()) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
