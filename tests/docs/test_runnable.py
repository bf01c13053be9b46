"""Every block marked `run` is run as a reader would, against a server with the demo model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.config import Config, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing.server import LiveServer

from ..conftest import DEMO, needs_demo
from .conftest import Block, blocks

pytestmark = needs_demo

ADDRESS = "127.0.0.1:11434"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """The demo model, but answers of sixteen tokens where the page does not ask for a length."""
    plugins = load_plugins()
    [demo] = [entry for entry in plugins.models.values() if str(entry.name) == DEMO]
    model = ModelConfig(path=str(demo.weights), options={"num_predict": 16})
    with LiveServer(Config(models={DEMO: model}), plugins) as server:
        yield server


def test_pages_have_blocks_to_run() -> None:
    assert {block.page for block in blocks("run")} >= {
        "README.md",
        "docs/tutorial/first-token.md",
        "docs/how-to/keep-models-in-memory.md",
        "docs/how-to/use-ollama-clients.md",
    }


@pytest.mark.parametrize("block", blocks("run"), ids=lambda block: f"{block.page}:{block.number}")
def test_a_block_runs_and_says_something(block: Block, server: LiveServer, tmp_path: Path) -> None:
    if "curl" in block.code and shutil.which("curl") is None:
        pytest.skip("needs curl")
    code = block.code.replace(ADDRESS, server.url.removeprefix("http://"))
    command = {"sh": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}[block.language]
    environ = {**os.environ, "OLLAMA_HOST": server.url}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        command,
        check=False,
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout
