"""Mapped weights that were repacked are let go of."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf

from remuda.model.gguf import TensorPlace, read_header
from remuda_llamacpp import load as loading
from remuda_llamacpp.weights import repack
from remuda_llamacpp.weights.repack import forget, repacked

Q4_0, Q8_0, F16 = 2, 8, 1


@pytest.fixture
def x86(monkeypatch):
    """Whatever this machine is."""
    monkeypatch.setattr(repack, "_rows", lambda: {"Q4_0": 8, "Q4_K": 8})


def tensor(name: str, type: str, *shape: int) -> TensorPlace:
    return TensorPlace(name, type, shape, 0, 100)


def test_which_are_repacked(x86):
    tensors = [
        tensor("token_embd.weight", "Q4_0", 256, 64),
        tensor("output.weight", "Q4_0", 256, 64),
        tensor("blk.0.attn_q.weight", "Q4_K", 256, 256),
        tensor("blk.0.ffn_up_exps.weight", "Q4_0", 256, 512, 4),
        tensor("blk.0.attn_k.weight", "Q4_0", 256, 60),  # not in whole groups of rows
        tensor("blk.0.attn_v.weight", "Q6_K", 256, 64),
        tensor("blk.0.attn_norm.weight", "F32", 256),
        tensor("per_layer_token_embd.weight", "Q4_0", 256, 64),  # rows are looked up, nothing is multiplied
    ]
    assert [one.name for one in repacked(tensors)] == [tensors[index].name for index in (1, 2, 3)]
    # Without an output matrix, the embeddings are that as well.
    assert tensors[0] in repacked([tensors[0], *tensors[2:]])


def test_this_machine_has_an_answer():
    assert isinstance(repacked([tensor("output.weight", "Q4_0", 256, 64)]), list)


def resident(path: Path) -> int:
    """Kilobytes of the file that are mapped into this process and in memory."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and words[0] == "Rss:":
            found += int(words[1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_pages_of_repacked_weights_leave_and_come_back(tmp_path, x86):
    path = tmp_path / "model of mine.gguf"
    tensors = [
        ("output_norm.weight", (1024,), 0),
        ("token_embd.weight", (256, 4096), Q4_0),
        ("blk.0.attn_q.weight", (256, 4096), Q4_0),
        ("blk.0.attn_k.weight", (256, 4096), Q4_0),
        ("blk.0.ffn_up.weight", (256, 4096), Q8_0),
        ("output.weight", (256, 4096), Q4_0),
    ]
    offset, raw = 0, []
    for name, shape, kind in tensors:
        raw.append(RawTensor(name, shape, kind, offset))
        offset += {0: 4096, Q4_0: 4096 * 144, Q8_0: 4096 * 272}[kind]
    path.write_bytes(make_gguf(LLAMA, raw, data=False) + bytes(range(256)) * (offset // 256))
    header, _ = read_header(path)
    dead = sum(one.size for one in repacked(header.tensor_list)) // 1024
    assert dead == 3 * 576
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as data:
        before = bytes(data)
        whole = resident(path)
        assert whole >= path.stat().st_size // 1024
        forget(path)
        # The kernel may let go of more: where it maps huge pages, of whole ones.
        assert whole - resident(path) >= dead - 4 * 8
        assert bytes(data) == before


def test_what_cannot_be_read_is_left_alone(tmp_path):
    forget(tmp_path / "none")
    path = tmp_path / "broken"
    path.write_bytes(b"GGUF")
    forget(path)


def test_a_load_lets_go_of_what_it_mapped(load, weights, monkeypatch):
    let_go: list[Path] = []
    monkeypatch.setattr(loading, "forget", let_go.append)
    load(context=256, parallel=1, use_mmap=False)
    assert not let_go
    load(context=256, parallel=1)
    assert let_go == [weights]
