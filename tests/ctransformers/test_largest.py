"""Models with as many blocks as are taken, and of the largest LLaMA's kind: the library computes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ggml_files import GGMLFile, every_layout

from remuda.model.ggml import GGMLError, read_ggml

MOST = {
    "gpt2": 85, "starcoder": 85, "gptj": 104, "gptneox": 80, "dolly-v2": 80, "mpt": 107, "replit": 110, "llama": 107,
    "falcon": 95, "falcon-40": 95,
}  # fmt: skip


def _computes(make, folder: Path, file: GGMLFile) -> bool:
    path = folder / "model.bin"
    path.write_bytes(file.written())
    said = make(path, context=16, parallel=1).alone(list(range(65, 75)), most=2, temperature=1.0)
    return len(said.pieces) == 2 or said.end.reason == "stop"


@pytest.mark.parametrize("kind", MOST)
def test_as_many_blocks_as_are_taken(make, tmp_path, kind):
    """An MPT that clamps its values has the most steps."""
    place = 3 if kind in {"mpt", "replit"} else 4
    file = every_layout()[kind].deep(MOST[kind], place)
    assert _computes(make, tmp_path, file.sized(6, 1.0) if kind == "mpt" else file)
    (tmp_path / "model.bin").write_bytes(file.sized(place, MOST[kind] + 1).written())
    with pytest.raises(GGMLError, match=f"at most {MOST[kind]} in a"):
        read_ggml(tmp_path / "model.bin")


def test_the_largest_llama_is_wider_inside(make, tmp_path):
    """By 1.3, in floats of 32 bits: 110 in place of 85."""
    file = every_layout()["llama"].sized(2, 1).sized(3, 8).sized(5, 4).deep(80, 4)
    shapes = {".wk.": (32, 4), ".wv.": (32, 4), ".w1.": (32, 110), ".w2.": (110, 32), ".w3.": (32, 110)}
    assert _computes(make, tmp_path, file.shaped(shapes))
