"""Falcon models in GGUF, which say less of their vocabularies than others, and have them in words."""

from __future__ import annotations

import pytest
from tiny_falcon import END, write_tiny_falcon

from remuda import LoadSpec
from remuda.errors import LoadFailed
from remuda_ctransformers.engine import CTransformersEngine


def test_its_end_ends_an_answer(make, tmp_path):
    said = make(write_tiny_falcon(tmp_path / "falcon.gguf", says=END), parallel=1).alone("the thing")
    assert (said.data, said.end.reason) == (b"", "stop")


def test_characters_are_written_as_they_are(make, tmp_path):
    driver = make(write_tiny_falcon(tmp_path / "falcon.gguf", says="é"), parallel=1)
    assert driver.alone("the thing", most=3).data == "ééé".encode()
    engine = driver.engine
    for text in ("the thing in there", "é\n  x", "日本"):
        assert engine.detokenize(engine.tokenize(text)) == text.encode()
    title, end = 0, 11
    assert engine.tokenize(f">>TITLE<<in{END}") == [title, *engine.tokenize("in"), end]
    assert engine.detokenize([title, end]) == b""
    assert len(engine.tokenize_input("the thing", 100)[0]) > 1


@pytest.mark.parametrize("text", ["a" * 60_000, " " * 60_000], ids=["a word", "spaces"])
def test_a_long_run_harms_nobody(make, tmp_path, text):
    engine = make(write_tiny_falcon(tmp_path / "falcon.gguf"), parallel=1).engine
    assert engine.detokenize(engine.tokenize(text)) == text.encode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"later": True}, "since October 2023, which is newer than ctransformers"),
        ({"typed": False}, "does not say what kinds of tokens there are"),
    ],
    ids=["later", "untyped"],
)
def test_what_it_cannot_read_is_told(tmp_path, fields, words):
    weights = write_tiny_falcon(tmp_path / "falcon.gguf", **fields)
    with pytest.raises(LoadFailed, match=f"^tiny could not be loaded: .*{words}"):
        CTransformersEngine.load(LoadSpec(name="tiny", weights=str(weights), context=64, parallel=1))
