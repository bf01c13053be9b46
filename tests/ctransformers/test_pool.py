"""The library's memory for computing, which ends the process where it is too small."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import ggml_files
import pytest
from ggml_files import every_layout

from remuda_ctransformers.pool import FIRST, Pool

MIB = 2**20
REAL = {
    "gpt2-xl": ("gpt2", 48, 1600, 25, 50257, 1024),
    "cerebras-2.7b": ("gpt2", 32, 2560, 32, 50257, 2048),
    "cerebras-13b": ("gpt2", 40, 5120, 40, 50257, 2048),
    "gpt-j-6b": ("gptj", 28, 4096, 16, 50400, 2048),
    "gpt-neox-20b": ("gptneox", 44, 6144, 64, 50432, 2048),
    "dolly-12b": ("dolly-v2", 36, 5120, 40, 50280, 2048),
    "mpt-7b-storywriter": ("mpt", 32, 4096, 32, 50432, 65536),
    "starcoder": ("starcoder", 40, 6144, 48, 49152, 8192),
    "replit-3b": ("replit", 32, 2560, 32, 32768, 2048),
}
"""Type, layers, width, heads, vocabulary, context."""

COMPUTE = """
import sys
from remuda_ctransformers.engine import CTransformersEngine
from remuda.engine import LoadSpec
from remuda.wire import Options
spec = LoadSpec(name="t", weights=sys.argv[1], context=10**6, parallel=1, options=Options(num_thread=1))
engine = CTransformersEngine.load(spec)
[native], batch = engine._loaded.natives, engine._loaded.micro_batch
assert native.evaluate([1] * batch, engine.context - batch, 1)
assert native.evaluate([1], engine.context - 1, 1)
print(engine.context, batch, engine._loaded.sizes.pool.taken(batch, engine.context) // 2**20)
"""


def _pool(name: str) -> tuple[Pool, int]:
    kind, layers, width, heads, vocabulary, context = REAL[name]
    cached = 4 if kind in {"gpt2", "starcoder"} else 2
    return Pool.of(kind, layers=layers, width=width, heads=heads, vocabulary=vocabulary, cached=cached), context


@pytest.mark.parametrize("name", REAL)
def test_what_models_need_is_there(name: str) -> None:
    """As far as their sizes tell: no file of these is here."""
    pool, context = _pool(name)
    plan = pool.plan(context, 8)
    needed = pool.taken(plan.micro_batch, plan.context)
    if plan.past:
        first = pool.taken(1, plan.past)
        assert first < 250 * MIB, "the first evaluation has what there is at first"
        assert 1.1 * FIRST * first > 1.05 * needed
        assert FIRST * first > 256 * MIB, "else no room is made"
        assert plan.past < plan.context
    else:
        assert needed < 250 * MIB
    assert plan.context == context or name == "mpt-7b-storywriter"
    assert plan.context > context // 4


def test_small_models_need_no_care() -> None:
    pool = Pool.of("gpt2", layers=12, width=768, heads=12, vocabulary=50257, cached=4)
    plan = pool.plan(1024, 8)
    assert (plan.context, plan.micro_batch, plan.past) == (1024, 8, 0)
    assert pool.plan(1024, 2).micro_batch == 2


@pytest.mark.parametrize(
    ("kind", "layers", "context", "grown"), [("gpt2", 32, 18_000, True), ("mpt", 1, 1_200_000, False)]
)
def test_the_last_tokens_of_a_long_context_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, layers: int, context: int, *, grown: bool
) -> None:
    """In a process of its own: what is wrong here ends it."""
    sizes = {"_WIDTH": 128, "_WIDE": 512, "_HEADS": 2, "_LAYERS": layers, "_CONTEXT": context}
    for name, size in sizes.items():
        monkeypatch.setattr(ggml_files, name, size)
    weights = tmp_path / "model.bin"
    _write(weights, kind)
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE, str(weights)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    length, _, taken = map(int, done.stdout.split())
    assert (length == context) == grown
    assert (taken > 256) == grown


def _write(path: Path, kind: str) -> None:
    """Weights of zero, which take no room on the disk."""
    file = every_layout()[kind]
    with path.open("wb") as out:
        out.write(file.head())
        for piece in file.pieces:
            name = str(piece.name).encode()
            out.write(struct.pack(f"<{3 + len(piece.shape)}i", len(piece.shape), len(name), piece.type, *piece.shape))
            out.write(name)
            elements = 1
            for size in piece.shape:
                elements *= size
            out.seek(4 * elements, 1)
        out.truncate(out.tell())
