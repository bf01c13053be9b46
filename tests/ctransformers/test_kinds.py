"""Every type of model that there are files of, loaded by the library; and texts in their vocabularies."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from ggml_files import every_layout
from tiny_ggml import write_tiny_gpt2

from remuda import BadRequest, LoadSpec
from remuda.model.gguf import GGUFHeader
from remuda_ctransformers import tokens
from remuda_ctransformers.engine import CTransformersEngine

KINDS = sorted(every_layout())
TEXTS = ["", "ab c", "  two  spaces ", "é 😀", "tab\tand\nline", "a\x1fb"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def shelf(make_once, tmp_path_factory):
    """A model of every type."""
    return {kind: make_once(_written(tmp_path_factory.mktemp(kind), kind), context=16, parallel=1) for kind in KINDS}


@pytest.fixture
def every(kind, shelf):
    return shelf[kind]


def _written(folder: Path, kind: str) -> Path:
    """Replit's has a piece for the space, as SentencePiece writes it."""
    file, path = every_layout()[kind], folder / "model.bin"
    path.write_bytes((file._replace(tokens=[*file.tokens[:-1], "▁".encode()]) if kind == "replit" else file).written())
    return path


def test_every_type_computes(every, kind):
    said = every.alone([65, 66, 67, 68, 69, 70, 71, 72, 73, 74], most=3, temperature=1.0)
    assert len(said.pieces) == 3 or said.end.reason == "stop"
    assert (every.engine.embed_most > 0) == kind.startswith(("llama", "falcon"))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("llama")], indirect=True)
def test_texts_come_back_whole(every, text):
    """The files of llamas here have their bytes at other ids than a llama has."""
    engine = every.engine
    found = engine.tokenize(text, bos=False)
    assert engine.detokenize(found) == text.encode()


def test_a_llama_begins_texts_and_knows_its_control_tokens(make, tmp_path):
    path = tmp_path / "model.bin"
    tokens = [b"", b"", b"", *(bytes([byte]) for byte in range(254))]
    path.write_bytes(every_layout()["llama"]._replace(tokens=tokens).written())
    engine = make(path, context=16).engine
    assert engine.tokenize("ab") == [1, 3 + ord("a"), 3 + ord("b")]
    assert engine.tokenize("<s>a</s>") == [1, 3 + ord("a"), 2]
    assert engine.detokenize([1, 3 + ord("a"), 2, 0]) == b"a"
    assert engine._vocabulary.ends() == [2]
    assert engine._vocabulary.spelled(1) == b"<s>"


def test_control_tokens_are_recognised_and_leave_no_text(make, tmp_path):
    weights = write_tiny_gpt2(tmp_path / "tiny.bin", extra_tokens=["<|im_start|>", "<|im"])
    engine = make(weights).engine
    assert engine.tokenize("a<|im_start|>b<|endoftext|>") == [97, 264, 98, 263]
    assert engine.detokenize([97, 264, 98, 263]) == b"ab"
    assert engine._vocabulary.visible(["<|im_start|>", "ab"]) == {264: b"<|im_start|>"}
    assert engine._vocabulary.ends() == [263]
    assert engine.detokenize([265]) == b"<|im", "no control token: it has no end"


def test_what_ends_a_turn_ends_an_answer_whatever_the_file_says(make, tmp_path):
    """Files name one such token at most; those of chat models have another one for a turn."""
    weights = write_tiny_gpt2(tmp_path / "tiny.bin", extra_tokens=["<|im_start|>", "<|im_end|>"])
    vocabulary = make(weights).engine._vocabulary
    assert vocabulary.ends() == [263, 265]
    assert vocabulary.piece(265) is None


def test_a_stop_string_that_is_a_control_token_is_found(make, tmp_path, monkeypatch):
    weights = write_tiny_gpt2(tmp_path / "tiny.bin", extra_tokens=["<|user|>"])
    driver = make(weights)
    native = type(driver.engine._loaded.natives[0])
    row = np.zeros(265, np.float32)
    row[264] = 1
    monkeypatch.setattr(native, "logits", lambda self: row.copy())
    assert driver.alone("the", most=2).data == b"", "it leaves no text"
    assert driver.alone("the", most=2, stop=("<|user|>",)).data == b"<|user|>" * 2


def test_a_splitter_that_makes_three_tokens_of_a_space(shelf, make, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(every_layout()["replit"].written())
    engine = make(path, context=16, parallel=1).engine
    tokens = engine.tokenize("one two " + " " * 200)
    assert engine.detokenize(tokens) == "one▁two▁".encode() + "▁".encode() * 200


def test_only_tokens_with_a_name_and_a_use_are_recognised():
    normal, unknown, control, user, unused = 1, 2, 3, 4, 5
    names = [b"<unk>", b"<s>", b"", b"<spare>", b"<user>", b"a"]
    found = tokens._of_pieces(
        GGUFHeader(version=3, values={}, tensors=0, parameters=0),
        names,
        [unknown, control, unused, unused, user, normal],
    )
    assert found.special == {b"<unk>": 0, b"<s>": 1, b"<user>": 4}
    assert found.control == {0, 1, 2, 3}


def test_pieces_of_a_2023_gguf(make):
    engine = make("gguf").engine
    assert engine.tokenize("<s>hi</s> the") == [
        1,
        *engine.tokenize("hi", bos=False),
        2,
        *engine.tokenize(" the", bos=False),
    ]
    assert engine.detokenize(engine.tokenize("é\x01")) == " é\x01".encode()
    assert engine._vocabulary.text(3) == b"\0", "a byte that C would take for the end of a text"


def test_zeros_are_characters_and_lone_surrogates_refused(driver):
    tokenize = driver.engine.tokenize
    for text in ("a\0b", "\0", "\0\0the\0 thing\0"):
        assert driver.engine.detokenize(tokenize(text)).removeprefix(b" ") == text.encode()
    with pytest.raises(BadRequest, match="lone surrogate"):
        tokenize("a\ud800")
    assert driver.engine._vocabulary.split(b"\xff") == []


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, "ab " * 50_000, "é" * 20_000, "  " * 20_000, "in the thing, there.\n" * 5_000],
    ids=["a word", "words", "characters", "spaces", "lines"],
)
def test_long_texts_are_split_as_short_ones_and_in_time(driver, text):
    began = time.thread_time()
    tokens = driver.engine.tokenize(text, bos=False)
    assert time.thread_time() - began < 5
    assert driver.engine.detokenize(tokens).strip() == text.encode().strip()


def test_where_a_text_is_cut_does_not_matter(make, models):
    """In one piece the library finds the same tokens."""
    engine = make("gpt2").engine
    text = "in the thing there is 'tis a king's ring: 42 rings! " * 150
    assert engine.tokenize(text) == engine._loaded.natives[0].tokenize(text.encode())


def test_replit_s_splitter_is_given_little_at_a_time(shelf):
    engine = shelf["replit"].engine
    began = time.thread_time()
    assert engine.detokenize(engine.tokenize("some words " * 500)) == b"some words " * 500
    assert time.thread_time() - began < 5


def test_the_vocabulary_is_that_of_the_file(models: dict[str, Path]):
    engine = CTransformersEngine.load(LoadSpec(name="t", weights=str(models["gpt2"]), context=64, parallel=1))
    assert engine.vocabulary == 264
    with pytest.raises(BadRequest, match="token 264 is not in the vocabulary"):
        engine.detokenize([264])
    engine.close()
