"""Weights written anew with less precision, in a child process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import numpy as np
import pytest
from children import children
from numpy.typing import NDArray
from tiny_embedders import write_wide_llama

from remuda import LoadSpec, Piece, Sequence
from remuda.backend import Quantizes
from remuda.errors import EngineError
from remuda.model.gguf import check_gguf
from remuda.wire import Options
from remuda_llamacpp.backend import LlamaCppBackend
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.sampler import logits_of

pytestmark = pytest.mark.usefixtures("no_blocking")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wide_llama(tmp_path_factory.mktemp("source") / "source.gguf")


def quantized(source: Path, target: Path, kind: str, each: Callable[[], bool] = lambda: True) -> list[tuple[int, int]]:
    """What was told on the way; `each` says after each step whether to go on."""

    async def run() -> list[tuple[int, int]]:
        backend, told = LlamaCppBackend(), list[tuple[int, int]]()
        assert isinstance(backend, Quantizes)
        async with aclosing(backend.quantize(source, target, kind)) as steps:
            async for step in steps:
                told.append(step)
                if not each():
                    break
        return told

    return asyncio.run(run())


def logits(weights: Path) -> NDArray[np.float32]:
    """Of the token after a prompt."""
    engine = LlamaEngine.load(
        LoadSpec(name="wide", weights=str(weights), context=64, parallel=1, options=Options(num_thread=1))
    )
    tokens = engine.tokenize("hello, world")
    engine.submit(Sequence(id=1, tokens=tokens, options=Options(temperature=0), seed=0, limit=64))
    assert any(isinstance(event, Piece) for event in engine.step())
    found = logits_of(engine._context, len(tokens) - 1, engine.vocabulary).copy()
    assert any(isinstance(event, Piece) for event in engine.step())
    engine.close()
    return found


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize(
    ("kind", "tensor", "file_type", "least"),
    [
        ("F32", "F32", 0, 0.9999),
        ("F16", "F16", 1, 0.9999),
        ("BF16", "BF16", 32, 0.999),
        ("Q8_0", "Q8_0", 7, 0.999),
        ("Q4_K_S", "Q4_K", 14, 0.95),
        ("Q4_K_M", "Q4_K", 15, 0.95),
    ],
)
def test_every_kind_says_nearly_the_same(
    source: Path, tmp_path: Path, kind: str, tensor: str, file_type: int, least: float
) -> None:
    target = tmp_path / "target.gguf"
    quantized(source, target, kind)
    header = check_gguf(target)
    types = {each.name: each.type for each in header.tensor_list}
    assert types["blk.0.attn_q.weight"] == tensor
    assert types["output_norm.weight"] == "F32"
    assert header.number("general.file_type") == file_type
    assert likeness(logits(target), logits(source)) > least


def test_from_more_precise_weights(tmp_path: Path) -> None:
    source = write_wide_llama(tmp_path / "single.gguf", single=True)
    quantized(source, tmp_path / "bf16.gguf", "BF16")
    quantized(tmp_path / "bf16.gguf", tmp_path / "target.gguf", "Q4_K_M")
    assert likeness(logits(tmp_path / "target.gguf"), logits(source)) > 0.95


def test_progress_in_bytes(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    target.touch()
    steps = quantized(source, target, "Q4_K_M")
    tensors = check_gguf(source).tensor_list
    assert len(steps) == len(tensors) + 1
    total = sum(tensor.size for tensor in tensors)
    assert {each for _, each in steps} == {total}
    completed = [each for each, _ in steps]
    assert completed == sorted(set(completed))
    assert (completed[0], completed[-1]) == (0, total)


@pytest.mark.parametrize("size", [0, 3, 100, 5000, 2_000_000])
def test_half_a_source(source: Path, tmp_path: Path, size: int) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(source.read_bytes()[:size])
    _fails(half, tmp_path / "target.gguf")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    _fails(tmp_path / "none.gguf", tmp_path / "target.gguf")


def test_a_target_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    _fails(source, tmp_path / "no" / "folder" / "target.gguf")


def test_an_architecture_that_nobody_knows(source: Path, tmp_path: Path) -> None:
    data = source.read_bytes()
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(data.replace(b"llama", b"camel"))
    _fails(strange, tmp_path / "target.gguf", "camel")


def _fails(source: Path, target: Path, word: str = "") -> None:
    before = children()
    with pytest.raises(EngineError, match=f"the weights could not be quantized: .*{word}") as caught:
        quantized(source, target, "Q8_0")
    assert str(source.parent) not in caught.value.message
    assert not target.exists()
    assert children() <= before


def test_closing_stops_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    source, target = write_wide_llama(tmp_path / "source.gguf", layers=20), tmp_path / "target.gguf"
    before, during = children(), set[str]()

    def look() -> bool:
        during.update(children())
        return False

    assert len(quantized(source, target, "Q4_K_M", look)) == 1
    assert during - before
    assert children() <= before
    assert not target.exists()


def test_it_gives_way_also_where_its_server_goes_first(tmp_path: Path) -> None:
    source = write_wide_llama(tmp_path / "source.gguf", layers=20)
    before, found = children(), set[int]()
    own = os.getpriority(os.PRIO_PROCESS, 0)

    def look() -> bool:
        found.update(os.getpriority(os.PRIO_PROCESS, int(pid)) for pid in children() - before)
        return False

    def run() -> None:
        with suppress(PermissionError):
            os.nice(-5)  # of this thread alone
        quantized(source, tmp_path / "target.gguf", "Q4_K_M", look)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == {min(max(own, 0) + 10, 19)}


def test_a_crash_is_told(tmp_path: Path) -> None:
    source, target = write_wide_llama(tmp_path / "source.gguf", layers=20), tmp_path / "target.gguf"
    before = children()

    def kill() -> bool:
        for pid in children() - before:
            with suppress(ProcessLookupError):  # it is called again while the first kill is still being noticed
                os.kill(int(pid), signal.SIGKILL)
        return True

    with pytest.raises(EngineError, match="SIGKILL"):
        quantized(source, target, "Q4_K_M", kill)
    assert children() <= before
    assert not target.exists()
