"""docs/how-to/serve-ggml-models.md: the blocks marked `ggml`, run in a folder with a small GPT-2."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_ggml import write_tiny_gpt2

from remuda.config import Config
from remuda.model.ggml import MODEL_TYPES
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

from .conftest import ROOT, blocks

PAGE = "docs/how-to/serve-ggml-models.md"
pytestmark = pytest.mark.skipif(find_spec("ctransformers") is None, reason="needs the extra ctransformers")


def test_the_commands_work(tmp_path: Path) -> None:
    write_tiny_gpt2(tmp_path / "gpt2.bin")
    (block,) = blocks("ggml", PAGE)
    with LiveServer(Config(), load_plugins()) as server:
        environ = {**os.environ, "OLLAMA_HOST": server.url}
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        code = block.code.replace("FROM ./gpt2.bin'", "FROM ./gpt2.bin\\nPARAMETER num_predict 16'").replace(
            "echo", "printf"
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            check=False, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "gpt2" in done.stdout
    assert len(done.stdout.splitlines()[-1]) + len(done.stdout.splitlines()[-2]) >= 16


def test_the_page_names_every_type_of_model() -> None:
    text = (ROOT / PAGE).read_text("utf-8")
    assert [kind for kind in MODEL_TYPES if f"`{kind}`" not in text] == []
