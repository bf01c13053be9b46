"""GGML files: what is read of sound ones, of which kind they are, and that it ends with an error for all others."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from bad_ggml import bad_ggmls
from ggml_files import GGMLFile, Piece, every_layout
from tiny_ggml import write_tiny_gpt2

from remuda.model import ModelEntry, parse_name
from remuda.model.facts import read_facts
from remuda.model.ggml import (
    MODEL_TYPES,
    GGMLError,
    GGMLHeader,
    is_ggml,
    known_type,
    model_info,
    read_ggml,
    tensor_infos,
    vocabulary,
)

_LAYOUTS = every_layout()
_BAD = bad_ggmls()
_TYPES = {"llama-f": "llama", "falcon-40": "falcon"}
_MOST = 8 * 1024 * 1024
"""Bytes that reading a file of some hundred kilobytes may take, whatever it says."""
_CHANGES = 60
"""Spoiled files of each layout."""


def _file(folder: Path, content: bytes | GGMLFile) -> Path:
    path = folder / "model.bin"
    path.write_bytes(content.written() if isinstance(content, GGMLFile) else content)
    return path


@pytest.mark.parametrize("name", _LAYOUTS)
def test_a_file_of_each_layout(tmp_path: Path, name: str) -> None:
    file = _LAYOUTS[name]
    path = _file(tmp_path, file)
    header = read_ggml(path)
    assert header.model_type == _TYPES.get(name, name)
    assert (header.embedding_length, header.block_count, header.head_count) == (32, 2, 2)
    assert header.context_length == (0 if file.scores and name != "replit" else 16)
    assert header.head_count_kv == (1 if "falcon" in name else 2)
    assert (header.magic, header.file_type, header.vocabulary_size) == (file.magic, 0, 257)
    assert [(tensor.name, tensor.shape) for tensor in header.tensor_list] == [piece[:2] for piece in file.pieces]
    assert sum(tensor.size for tensor in header.tensor_list) == 4 * header.parameters
    last = header.tensor_list[-1]
    assert last.offset + last.size == path.stat().st_size
    assert list(vocabulary(path, header)) == file.tokens
    assert is_ggml(path)
    assert read_ggml(path, header.model_type.upper()) == header


def test_every_type_has_its_layout() -> None:
    assert {_TYPES.get(name, name) for name in _LAYOUTS} == set(MODEL_TYPES)


def test_tensors_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4 * 32 + bytes(128)
    for name, tensor in (("gpt2", "model/wte"), ("llama", "output.weight")):
        path = _file(tmp_path, _LAYOUTS[name].changed(tensor, data=content))
        [found] = [each for each in read_ggml(path).tensor_list if each.name == tensor]
        assert path.read_bytes()[found.offset : found.offset + found.size] == content
        assert found.offset % 32 == 0 or name == "gpt2"


def test_a_tiny_gpt2(tmp_path: Path) -> None:
    path = write_tiny_gpt2(tmp_path / "m.bin")
    header = read_ggml(path, texts=("<|endoftext|>", "nowhere"))
    assert (header.model_type, header.context_length, header.file_type) == ("gpt2", 256, 1)
    assert header.found == {"<|endoftext|>"}
    assert path.stat().st_size < 500_000
    assert write_tiny_gpt2(tmp_path / "again.bin").read_bytes() == path.read_bytes()
    assert read_ggml(write_tiny_gpt2(path, f32=True)).file_type == 0


def test_facts_of_a_model_that_fills_holes(tmp_path: Path) -> None:
    infill = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    path = write_tiny_gpt2(tmp_path / "m.bin", extra_tokens=infill)
    facts = read_facts(ModelEntry(name=parse_name("m"), weights=path, format="ggml"))
    assert (facts.details.family, facts.details.quantization_level, facts.context_length) == ("starcoder", "F16", 256)
    assert facts.infill == infill
    plain = write_tiny_gpt2(tmp_path / "plain.bin")
    assert read_facts(ModelEntry(name=parse_name("m"), weights=plain, format="ggml")).infill is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt2", "gpt2"), ("GPT-2", "gpt2"), ("gptj", "gptj"), ("gpt-j", "gptj"), ("gptneox", "gptneox"),
        ("gpt_neox", "gptneox"), ("gpt-neox", "gptneox"), ("starcoder", "starcoder"), ("gpt_bigcode", "starcoder"),
        ("dolly-v2", "dolly-v2"), ("dollyv2", "dolly-v2"), ("Dolly V2", "dolly-v2"), ("mpt", "mpt"),
        ("replit", "replit"), ("LLaMA", "llama"), ("falcon", "falcon"), ("", None), ("gpt", None), ("llama2", None),
    ],
)  # fmt: skip
def test_types_by_their_spellings(text: str, expected: str | None) -> None:
    assert known_type(text) == expected


def test_types_that_only_the_vocabulary_tells_can_be_said(tmp_path: Path) -> None:
    assert read_ggml(_file(tmp_path, _LAYOUTS["gpt2"]), "gpt_bigcode").model_type == "starcoder"
    assert read_ggml(_file(tmp_path, _LAYOUTS["starcoder"]), "gpt2").model_type == "gpt2"
    assert read_ggml(_file(tmp_path, _LAYOUTS["gptneox"]), "dolly-v2").model_type == "dolly-v2"
    hyphen = _LAYOUTS["gpt2"]._replace(tokens=[*_LAYOUTS["gpt2"].tokens[:-1], b"<fim-prefix>"])
    assert read_ggml(_file(tmp_path, hyphen)).model_type == "starcoder"


@pytest.mark.parametrize(
    ("said", "file"), [("mpt", "replit"), ("gptj", "gpt2"), ("gpt2", "llama"), ("llama", "falcon")]
)
def test_a_type_that_the_file_is_not(tmp_path: Path, said: str, file: str) -> None:
    with pytest.raises(GGMLError, match=f"'{said}', but the file is a model of the type '{file}'"):
        read_ggml(_file(tmp_path, _LAYOUTS[file]), said)


def test_a_type_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(GGMLError, match="'bert' is not known; it must be one of dolly-v2, falcon, gpt2, gptj, gptneox"):
        read_ggml(_file(tmp_path, _LAYOUTS["gpt2"]), "bert")


def test_a_file_that_does_not_tell(tmp_path: Path) -> None:
    """Of a model that nobody here knows; a type that is said is taken at its word, and found to be wrong."""
    file = _LAYOUTS["gpt2"]
    path = _file(tmp_path, file._replace(pieces=[Piece("model.wte", (32, 257))]))
    with pytest.raises(
        GGMLError, match=r"as gpt2, its first tensor would be 'model.wte'.*PARAMETER model_type: dolly-v2"
    ):
        read_ggml(path)
    with pytest.raises(GGMLError, match=r"cannot be read as gpt2, its first tensor would be 'model\.wte'"):
        read_ggml(path, "gpt2")
    with pytest.raises(GGMLError, match="as falcon, 'vocab_size' is -1"):
        read_ggml(_file(tmp_path, _LAYOUTS["falcon"].sized(0, -1)), "falcon")
    with pytest.raises(GGMLError, match="as mpt, of which no files begin with 'ggjt'"):
        read_ggml(_file(tmp_path, _LAYOUTS["llama"].sized(0, -1)), "mpt")


def test_quantized_weights(tmp_path: Path) -> None:
    def read(file: GGMLFile) -> tuple[int, int, str]:
        header = read_ggml(_file(tmp_path, file))
        return header.file_type, header.quantization_version, header.tensor_list[0].type

    assert read(_LAYOUTS["gpt2"].quantized(2, 5, 2002)) == (2, 2, "Q4_0")
    assert read(_LAYOUTS["gpt2"].quantized(6, 5, 1008)) == (8, 1, "Q5_0")
    assert read(_LAYOUTS["mpt"].quantized(8, 7, 2007)) == (7, 2, "Q8_0")
    llama = _LAYOUTS["llama"]
    assert read(llama.quantized(3, 6, 3)) == (3, 2, "Q4_1")
    assert read(llama._replace(version=2).quantized(7, 6, 9)) == (9, 1, "Q5_1")
    assert read(llama._replace(version=1).quantized(1, 6, 1)) == (1, 0, "F16")
    mixed = llama.quantized(2, 6, 2).changed("output.weight", type=8)
    assert read(mixed) == (2, 2, "Q4_0")


def test_a_matrix_that_may_be_missing(tmp_path: Path) -> None:
    file = _LAYOUTS["gpt2"]
    head = Piece("model/lm_head", (32, 257))
    assert (
        read_ggml(_file(tmp_path, file._replace(pieces=[*file.pieces, head]))).tensor_list[-1].name == "model/lm_head"
    )


def test_a_llama_whose_heads_share_keys(tmp_path: Path) -> None:
    file = _LAYOUTS["llama"].sized(3, 16).sized(5, 2)
    assert read_ggml(_file(tmp_path, file)).head_count_kv == 16
    assert read_ggml(_file(tmp_path, file.shaped({".wk.": (32, 4), ".wv.": (32, 4)}))).head_count_kv == 2


@pytest.mark.parametrize(
    ("multiple", "blocks", "shared", "inner"),
    [
        (1, 2, False, 85),
        (7, 2, False, 91),
        (86, 80, False, 86),
        (1, 79, True, 85),
        (1, 80, True, 110),
        (7, 80, True, 112),
    ],
)
def test_how_wide_a_llama_is_inside(tmp_path: Path, multiple: int, blocks: int, shared: bool, inner: int) -> None:
    """85 is two thirds of four times 32; the largest LLaMA has 1.3 times as much."""
    file = _LAYOUTS["llama"].sized(2, multiple).sized(3, 8).sized(5, 4)
    keys: dict[str, tuple[int, ...]] = {".wk.": (32, 4), ".wv.": (32, 4)} if shared else {}
    file = file.shaped({".w1.": (32, inner), ".w2.": (inner, 32), ".w3.": (32, inner), **keys}).deep(blocks, 4)
    assert read_ggml(_file(tmp_path, file)).head_count_kv == (1 if shared else 8)


@pytest.mark.parametrize("name", _BAD)
def test_a_bad_file_is_refused_and_its_fault_named(tmp_path: Path, name: str) -> None:
    bad = _BAD[name]
    path = _file(tmp_path, bad.content)
    with pytest.raises(GGMLError) as caught:
        read_ggml(path, bad.model_type)
    message = str(caught.value)
    assert bad.fragment in message
    assert str(tmp_path) not in message
    assert len(message) < 400


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert not is_ggml(tmp_path / "gone")
    with pytest.raises(GGMLError, match="not there any more"):
        read_ggml(tmp_path / "gone")
    with pytest.raises(GGMLError, match="IsADirectoryError") as caught:
        read_ggml(tmp_path)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", ["gpt2", "falcon"])
def test_every_beginning_of_a_file_is_too_little(tmp_path: Path, name: str) -> None:
    """Each one of the first, those that end where something ends, and some others."""
    path = _file(tmp_path, _LAYOUTS[name])
    header, first, size = read_ggml(path), len(_LAYOUTS[name].head()), path.stat().st_size
    edges = [edge for tensor in header.tensor_list for edge in (tensor.offset, tensor.offset + tensor.size)]
    near = {edge + step for edge in (*edges, first) for step in (-1, 0, 1)}
    chosen = random.Random(1).sample(range(size), 200)
    ends = sorted({*range(0, 400, 3), *near, *chosen, *range(first - 40, first)}, reverse=True)
    for end in ends:
        if end < size:
            os.truncate(path, end)
            with pytest.raises(GGMLError):
                read_ggml(path)
            with pytest.raises(GGMLError):
                read_ggml(path, name)


@pytest.mark.parametrize("name", _LAYOUTS)
def test_whatever_is_changed_there_is_an_answer_or_an_error(tmp_path: Path, name: str) -> None:
    """Of no other kind, and without much memory."""
    content = _LAYOUTS[name].written()
    header, first = read_ggml(_file(tmp_path, content)), len(_LAYOUTS[name].head())
    places = [*range(80), *range(first - 80, first + 80)]
    places += [tensor.offset - step for tensor in header.tensor_list for step in range(1, 80)]
    chance = random.Random(name)
    told: set[type] = set()
    tracemalloc.start()
    try:
        for _ in range(_CHANGES):
            spoiled = bytearray(content)
            for _ in range(chance.randint(1, 3)):
                place = chance.choice(places)
                spoiled[place : place + 4] = chance.choice(
                    [chance.randbytes(4), b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", bytes(4), b"\1\0\0\0"]
                )
            path = _file(tmp_path, bytes(spoiled))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                told.add(type(read_ggml(path)))
            except GGMLError as error:
                told.add(type(error))
            assert tracemalloc.get_traced_memory()[1] - before < _MOST
    finally:
        tracemalloc.stop()
    assert told <= {GGMLHeader, GGMLError}
    assert GGMLError in told


def test_what_is_shown(tmp_path: Path) -> None:
    path = _file(tmp_path, _LAYOUTS["dolly-v2"])
    header = read_ggml(path)
    assert msgspec.json.decode(model_info(path, header, verbose=False)) == {
        "general.architecture": "dolly-v2",
        "general.file_type": 0,
        "general.parameter_count": 41920,
        "general.quantization_version": 0,
        "dolly-v2.vocab_size": 257,
        "dolly-v2.context_length": 16,
        "dolly-v2.embedding_length": 32,
        "dolly-v2.attention.head_count": 2,
        "dolly-v2.block_count": 2,
        "dolly-v2.rope.dimension_count": 16,
        "dolly-v2.use_parallel_residual": True,
        "tokenizer.ggml.tokens": None,
    }
    tokens = msgspec.json.decode(model_info(path, header, verbose=True))["tokenizer.ggml.tokens"]
    assert (len(tokens), tokens[97], tokens[255], tokens[256]) == (257, "a", "�", "### End")
    first = tensor_infos(header)[0]
    assert (first.name, first.type, first.shape) == ("gpt_neox.embed_in.weight", "F32", [32, 257])


def test_fractions_are_shown_as_short_as_they_can_be_said(tmp_path: Path) -> None:
    path = _file(tmp_path, _LAYOUTS["mpt"].sized(6, 0.1))
    info = model_info(path, read_ggml(path), verbose=False)
    assert b'"mpt.attention.clamp_kqv":0.1,' in info
    assert b'"mpt.attention.max_alibi_bias":8,' in info
