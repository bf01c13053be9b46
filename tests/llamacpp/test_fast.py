"""Weights of slow types, held in a faster one: made once, kept in a folder, and never needed."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from msgspec import structs
from tiny_embedders import write_wide_llama

from remuda import LoadSpec
from remuda.backend import LoadWish
from remuda.errors import LoadFailed
from remuda.model import ModelEntry, parse_name
from remuda.model.gguf import check_gguf
from remuda.wire import Options
from remuda_llamacpp import _native
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.load import load
from remuda_llamacpp.memory.anatomy import read_anatomy
from remuda_llamacpp.memory.estimate import estimate
from remuda_llamacpp.weights import fast, repack, slow

MIB = 2**20
Q4_1, Q5_1 = 3, 9
"""llama.cpp's numbers of such files."""


@pytest.fixture(scope="module")
def precise(tmp_path_factory):
    return write_wide_llama(tmp_path_factory.mktemp("precise") / "precise.gguf")


@pytest.fixture(scope="module")
def quantized(precise):
    """A model in Q4_1, whose output matrix llama.cpp has made Q6_K."""
    return quantize(precise, precise.with_name("quantized.gguf"), Q4_1)


def quantize(source: Path, target: Path, kind: int) -> Path:
    assert _native.quantize(os.fsencode(source), os.fsencode(target), kind, 1)
    return target


@pytest.fixture
def source(quantized, tmp_path):
    return Path(shutil.copy2(quantized, tmp_path / "source.gguf"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "weights"


@pytest.fixture(autouse=True)
def _x86(monkeypatch):
    """Whatever this machine is."""
    monkeypatch.setattr(slow, "cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(repack, "_rows", dict)


@pytest.fixture
def loaded(folder):
    """Loads a model, and tells its identity and what was said of the progress."""

    def run(path: Path, weights: str = "fast", options: Options | None = None, **more: object) -> tuple[str, list]:
        told: list[float] = []
        spec = LoadSpec(
            name="wide", weights=str(path), context=64, parallel=1, options=options or Options(num_thread=1),
            settings={"weights": weights, "weights_folder": str(folder), "prefix_disk": False, **more},
        )  # fmt: skip
        found = load(spec, told.append)
        _native.context_free(found.context)
        _native.model_free(found.model)
        return found.identity, told

    return run


def kept(folder: Path) -> list[Path]:
    """Files in the folder, which must all be whole."""
    found = sorted(folder.iterdir()) if folder.exists() else []
    assert all(path.name.endswith(".fast.gguf") for path in found)
    return found


def types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type for tensor in check_gguf(path).tensor_list}


# --- what is made ---


def test_nothing_is_made_unless_it_is_asked_for(loaded, source, folder):
    loaded(source, "exact")
    loaded(source, "exact", weights_bytes=1)
    assert not folder.exists()


def test_only_matrices_of_slow_types_change(loaded, source, folder):
    loaded(source)
    (path,) = kept(folder)
    before, after = types(source), types(path)
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if name.startswith("blk.") and before[name] == "Q4_1"
    }
    assert after["blk.0.attn_q.weight"] == "Q8_0"
    assert (after["token_embd.weight"], after["output.weight"]) == ("Q4_1", "Q6_K")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_next_to_nothing_is_lost(loaded, precise, source, folder):
    loaded(source)
    name = "blk.1.ffn_down.weight"

    def numbers(path: Path) -> np.ndarray:
        (tensor,) = (each for each in GGUFReader(path).tensors if each.name == name)
        return dequantize(tensor.data, tensor.tensor_type)

    true, given, found = numbers(precise), numbers(source), numbers(kept(folder)[0])
    assert 0 < np.linalg.norm(found - given) < 0.1 * np.linalg.norm(given - true)


def test_texts_come(source, folder, drive):
    spec = LoadSpec(
        name="wide", weights=str(source), context=64, parallel=2, options=Options(num_thread=1),
        settings={"weights": "fast", "weights_folder": str(folder), "prefix_disk": False},
    )  # fmt: skip
    engine = LlamaEngine.load(spec)
    try:
        assert len(drive(engine).alone("hello, world", most=6).tokens) == 6
        assert engine.sizes()["size"] > sum(tensor.size for tensor in check_gguf(kept(folder)[0]).tensor_list)
    finally:
        engine.close()


def test_the_load_goes_on_meanwhile(loaded, source):
    _, told = loaded(source)
    tensors = len(check_gguf(source).tensor_list)
    assert told[:tensors] == [0.0] * tensors
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_q5_1_is_slow_as_well(loaded, precise, tmp_path, folder):
    loaded(quantize(precise, tmp_path / "other.gguf", Q5_1))
    assert types(kept(folder)[0])["blk.0.attn_q.weight"] == "Q8_0"


def test_what_is_not_slow_stays(loaded, precise, tmp_path, folder, caplog, monkeypatch):
    loaded(precise)
    loaded(quantize(precise, tmp_path / "other.gguf", _native.QUANTIZED["Q4_K_M"]))
    source = quantize(precise, tmp_path / "slow.gguf", Q4_1)
    monkeypatch.setattr(slow, "cpu_flags", frozenset)
    loaded(source)
    monkeypatch.undo()
    monkeypatch.setattr(repack, "_rows", lambda: {"Q4_1": 32})  # a CPU with AMX
    loaded(source)
    assert not folder.exists()
    assert not caplog.records


def test_slow_weights_must_be_most_of_a_whole_file(source):
    header = check_gguf(source)
    found = slow.slow(header)
    assert len(found) == 14

    def changed(**more: object):
        return slow.slow(structs.replace(header, **more))

    experts = tuple(structs.replace(each, shape=(*each.shape, 2)) for each in header.tensor_list)
    half = tuple(each for each in header.tensor_list if each not in found[2:])
    assert changed(values={**header.values, "split.count": 2}) == []
    assert changed(alignment=64) == []
    assert changed(file_size=1000) == []
    assert changed(tensor_list=experts) == []
    assert changed(tensor_list=half) == []


# --- found again ---


def test_it_is_made_once(loaded, source, folder, monkeypatch):
    exact, _ = loaded(source, "exact")
    first, _ = loaded(source)
    (path,) = kept(folder)
    now = path.stat().st_atime_ns
    os.utime(path, ns=(now - 10**12, path.stat().st_mtime_ns))
    monkeypatch.setattr(fast, "rewrite", None)
    assert loaded(source)[0] == first != exact
    assert kept(folder) == [path]
    assert path.stat().st_atime_ns >= now


def test_states_outlive_the_file(loaded, source, folder):
    first, _ = loaded(source)
    kept(folder)[0].unlink()
    assert loaded(source)[0] == first


def test_a_replaced_source_has_another(loaded, source, folder):
    first, _ = loaded(source)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    assert loaded(source)[0] != first
    assert len(kept(folder)) == 2


def test_another_file_of_the_same_name_size_and_age_has_another(loaded, source, tmp_path, folder):
    loaded(source)
    (tmp_path / "other").mkdir()
    loaded(Path(shutil.copy2(source, tmp_path / "other")))
    assert len(kept(folder)) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "link"])
def test_a_damaged_file_is_made_anew(loaded, source, folder, damage):
    loaded(source)
    (path,) = kept(folder)
    size = path.stat().st_size
    if damage == "link":
        moved = path.rename(folder.parent / "elsewhere.gguf")
        path.symlink_to(moved)
    else:
        os.truncate(path, size - 1000 if damage == "cut" else 0)
    loaded(source)
    assert kept(folder) == [path]
    assert not path.is_symlink()
    assert path.stat().st_size == size


def test_two_at_once(loaded, source, folder, monkeypatch):
    rewrite = fast.rewrite

    def slowly(*arguments):
        monkeypatch.setattr(fast, "rewrite", rewrite)
        loaded(source)
        return rewrite(*arguments)

    monkeypatch.setattr(fast, "rewrite", slowly)
    loaded(source)
    assert len(kept(folder)) == 1


def test_a_draft_model_is_as_fast(source, tmp_path, folder):
    draft = Path(shutil.copy2(source, tmp_path / "draft.gguf"))
    spec = LoadSpec(
        name="wide", weights=str(source), draft=str(draft), context=64, parallel=1, options=Options(num_thread=1),
        settings={"weights": "fast", "weights_folder": str(folder), "prefix_disk": False},
    )  # fmt: skip
    LlamaEngine.load(spec).close()
    assert len(kept(folder)) == 2


# --- where it can't be done ---


def as_it_is(loaded, source, caplog, **more) -> str:
    """The warning of a load that goes on with the file itself."""
    exact, _ = loaded(source, "exact")
    assert loaded(source, **more)[0] == exact
    (record,) = caplog.records
    assert str(source.parent) not in record.getMessage()
    assert "the weights of wide are used as they are, which is slower: " in record.getMessage()
    return record.getMessage()


def test_a_disk_that_fills_up(loaded, source, folder, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        as_it_is(loaded, source, caplog)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(folder) == []
    loaded(source)
    assert len(kept(folder)) == 1


def test_too_little_room(loaded, source, folder, caplog, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(MIB, MIB, 1000))
    assert "1000 are free where weights_folder is" in as_it_is(loaded, source, caplog)
    assert kept(folder) == []


def test_more_than_the_folder_may_hold(loaded, source, folder, caplog):
    assert "more than weights_bytes (1000)" in as_it_is(loaded, source, caplog, weights_bytes=1000)
    assert kept(folder) == []


def test_room_is_made_for_a_new_one(loaded, source, folder):
    loaded(source)
    (first,) = kept(folder)
    size = first.stat().st_size
    os.utime(source, (1_000_000_000, 1_000_000_000))
    loaded(source, weights_bytes=size + size // 2)
    (second,) = kept(folder)
    assert second != first


def test_a_folder_that_cannot_be_made(loaded, source, folder, caplog):
    folder.parent.write_bytes(b"")
    as_it_is(loaded, source, caplog)


def test_a_quantiser_that_refuses(loaded, source, folder, caplog, monkeypatch):
    monkeypatch.setattr(_native, "_quantize", lambda *_: 1)
    assert "llama.cpp refused them" in as_it_is(loaded, source, caplog)
    assert kept(folder) == []


def test_broken_weights_are_refused_as_ever(loaded, source, tmp_path, folder, caplog):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(LoadFailed, match="wide could not be loaded"):
        loaded(broken)
    assert not folder.exists()


def test_gpus_have_kernels_for_everything(loaded, source, folder, monkeypatch):
    monkeypatch.setattr(_native, "supports_gpu", lambda: True)
    loaded(source)
    assert not folder.exists()
    loaded(source, options=Options(num_thread=1, num_gpu=0))
    assert len(kept(folder)) == 1


@pytest.mark.parametrize(
    "table",
    [{"weights": "quick"}, {"weights": True}, {"weights_folder": 3}, {"weights_bytes": 0}, {"weights_days": "x"}],
)
def test_settings_that_make_no_sense(source, table):
    with pytest.raises(LoadFailed, match=next(iter(table))):
        load(LoadSpec(name="wide", weights=str(source), context=64, parallel=1, settings=table), lambda _: None)


# --- what it takes ---


def test_the_estimate_counts_what_is_held(loaded, source, folder):
    loaded(source)
    exact, as_fast, made = read_anatomy(source), read_anatomy(source, fast=True), read_anatomy(kept(folder)[0])
    assert as_fast == made != exact
    model = ModelEntry(name=parse_name("wide"), weights=source)
    wish, table = LoadWish(context=64), {"weights": "fast"}
    grown = made.weights - exact.weights
    for gpu, options, more in ((False, Options(), grown), (True, Options(), 0), (True, Options(num_gpu=0), grown)):
        asked = LoadWish(context=64, options=options)
        before, after = (estimate(model, asked, each, gpu=gpu) for each in ({}, table))
        assert after.memory + after.gpu - before.memory - before.gpu == more
    assert estimate(model, wish, {"weights": "exact"}, gpu=False) == estimate(model, wish, {}, gpu=False)
