"""A GGML file by the commands, against a real server: made, shown, listed, copied, removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ggml_files import every_layout
from tiny_ggml import write_tiny_gpt2

from remuda.config import Config, ModelConfig
from remuda.plugins import Plugins
from remuda.testing.server import LiveServer

from .conftest import Remuda


@pytest.fixture
def server(tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """With the model `outside` of the configuration."""
    outside = tmp_path / "outside.bin"
    outside.write_bytes(every_layout()["gpt2"].written())
    models = {"outside": ModelConfig(path=str(outside), format="ggml", model_type="gpt_bigcode")}
    with LiveServer(Config(models=models), plugins) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        monkeypatch.chdir(tmp_path)
        yield server


def test_a_model_from_its_making_to_its_end(remuda: Remuda, server: LiveServer, tmp_path: Path) -> None:
    write_tiny_gpt2(tmp_path / "model.bin")
    (tmp_path / "Modelfile").write_text("FROM ./model.bin\nPARAMETER model_type gpt-2\n")
    made = remuda("create", "old")
    assert (made.exit_code, made.stderr.splitlines()[-1]) == (0, "success")

    shown = [line.split() for line in remuda("show", "old").stdout.splitlines()]
    for row in (["architecture", "gpt2"], ["parameters", "150K"], ["context", "length", "256"]):
        assert row in shown
    for row in (["embedding", "length", "64"], ["quantization", "F16"], ["completion"], ["model_type", '"gpt-2"']):
        assert row in shown
    verbose = remuda("show", "--verbose", "old").stdout
    assert "model/h1/mlp/c_proj/w" in verbose
    assert "gpt2.attention.head_count" in verbose
    assert "PARAMETER model_type gpt-2" in remuda("show", "--modelfile", "old").stdout

    assert remuda("cp", "old", "older").exit_code == 0
    tags = httpx.get(server.url + "/api/tags").json()["models"]
    details = {model["name"]: model["details"] for model in tags}
    assert details["older:latest"] == details["old:latest"]
    assert details["old:latest"] == {
        "parent_model": "", "format": "ggml", "family": "gpt2", "families": ["gpt2"], "parameter_size": "150K",
        "quantization_level": "F16", "context_length": 256, "embedding_length": 64,
    }  # fmt: skip
    assert (details["outside:latest"]["format"], details["outside:latest"]["family"]) == ("ggml", "starcoder")
    assert remuda("rm", "old", "older").exit_code == 0
    assert remuda("show", "old").exit_code != 0


def test_a_folder_with_one_file(remuda: Remuda, server: LiveServer, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "ggml-model.bin").write_bytes(every_layout()["mpt"].written())
    (tmp_path / "Modelfile").write_text("FROM ./folder\n")
    assert remuda("create", "mosaic").exit_code == 0
    assert ["architecture", "mpt"] in [line.split() for line in remuda("show", "mosaic").stdout.splitlines()]


def test_a_file_that_is_cut(remuda: Remuda, server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(every_layout()["llama"].written()[:-1])
    (tmp_path / "Modelfile").write_text("FROM ./model.bin\n")
    made = remuda("create", "cut")
    assert made.exit_code == 1
    assert "'model.bin' cannot be used: the tensor 'layers.1.feed_forward.w3.weight' ends at byte" in made.stderr
