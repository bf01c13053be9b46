"""`merge_shards`: the parts of a split GGUF, as the `gguf` package writes them, become the whole again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf
from gguf import GGUFReader, GGUFWriter

from remuda.model.gguf import GGUFError, check_gguf, merge_shards

_SHAPES = {"a": (3, 64), "b": (5,), "c": (2, 2, 32), "d": (1,), "e": (7, 3)}


def _write(path: Path, **split: Any) -> None:
    file = GGUFWriter(path, "llama", **split)
    file.add_name("whole")
    file.add_block_count(2)
    file.add_token_list(["a", "b", "c"])
    random = np.random.default_rng(1)
    for place, (name, shape) in enumerate(_SHAPES.items()):
        kind = np.float16 if place % 2 else np.float32
        file.add_tensor(name, random.standard_normal(shape).astype(kind))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "parts"
    folder.mkdir()
    _write(folder / "m.gguf", split_max_tensors=2)
    found = sorted(folder.iterdir())
    assert len(found) == 3
    return found


def _merged(parts: list[Path], target: Path) -> Path:
    with target.open("wb") as file:
        merge_shards(parts, file.write)
    return target


def test_the_parts_become_the_whole(parts: list[Path], tmp_path: Path) -> None:
    _write(tmp_path / "whole.gguf")
    merged = _merged([parts[2], parts[0], parts[1]], tmp_path / "merged.gguf")
    assert merged.read_bytes() == (tmp_path / "whole.gguf").read_bytes()
    header = check_gguf(merged)
    assert (header.shards, header.tensors) == (1, len(_SHAPES))
    for ours, theirs in zip(GGUFReader(merged).tensors, GGUFReader(tmp_path / "whole.gguf").tensors, strict=True):
        assert ours.name == theirs.name
        assert np.array_equal(ours.data, theirs.data)


def test_each_part_is_sound(parts: list[Path]) -> None:
    assert [(check_gguf(part).shard, check_gguf(part).shards) for part in parts] == [(0, 3), (1, 3), (2, 3)]


def test_a_part_that_is_missing_or_there_twice(parts: list[Path], tmp_path: Path) -> None:
    for some in (parts[:2], [*parts, parts[0]], [parts[0], parts[1], parts[1]], parts[:1]):
        with pytest.raises(GGUFError, match="split GGUF"):
            _merged(some, tmp_path / "merged.gguf")
        assert not (tmp_path / "merged.gguf").stat().st_size


def _parts(
    folder: Path, *others: dict[str, Any], names: tuple[str, str] = ("a", "b"), alignment: int = 32
) -> list[Path]:
    first = {**LLAMA, "general.alignment": alignment, "split.no": 0, "split.count": 2, **dict(*others)}
    one, two = folder / "one", folder / "two"
    one.write_bytes(make_gguf(first, [RawTensor(names[0], (5,))], alignment=alignment))
    two.write_bytes(make_gguf({"split.no": 1, "split.count": 2}, [RawTensor(names[1], (5,))]))
    return [one, two]


def test_the_alignment_is_the_first_parts(tmp_path: Path) -> None:
    header = check_gguf(_merged(_parts(tmp_path, alignment=128), tmp_path / "merged"))
    assert [(tensor.name, tensor.offset) for tensor in header.tensor_list] == [("a", 0), ("b", 128)]


def test_parts_that_do_not_go_together(tmp_path: Path) -> None:
    target = tmp_path / "merged"
    with pytest.raises(GGUFError, match="'a' is in two files"):
        _merged(_parts(tmp_path, names=("a", "a")), target)
    with pytest.raises(GGUFError, match=r"split\.tensors\.count"):
        _merged(_parts(tmp_path, {"split.tensors.count": 3}), target)
    parts = _parts(tmp_path)
    parts[1].write_bytes(parts[1].read_bytes()[:-20])
    with pytest.raises(GGUFError, match="ends at byte"):
        _merged(parts, target)
    assert not target.stat().st_size


def test_what_writing_raises_goes_through(parts: list[Path]) -> None:
    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        merge_shards(parts, full)
