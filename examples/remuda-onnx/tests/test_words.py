"""Tokens and the bytes that they stand for."""

from __future__ import annotations

import json

import pytest
from tiny_onnx import byte_level, pieces
from tokenizers import Tokenizer

from remuda import BadRequest
from remuda.errors import LoadFailed
from remuda_onnx.vocabulary import OnnxVocabulary
from remuda_onnx.words import read_words

TEXTS = ["Once upon a time", "naïve 日本語 🦄", "tabs\tand\nlines \0 and \x7f", "  two  spaces ", ""]


def _data(tokenizer: Tokenizer) -> bytes:
    return tokenizer.to_str().encode()


@pytest.fixture(params=[byte_level, pieces])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.param()


@pytest.fixture
def vocabulary(tokenizer: Tokenizer) -> OnnxVocabulary:
    return OnnxVocabulary(_data(tokenizer), [0])


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_tokens_are_those_of_their_text(vocabulary: OnnxVocabulary, text: str) -> None:
    tokens = vocabulary.tokenize(text, bos=False)
    found = vocabulary.detokenize(tokens)
    assert found in {text.encode(), b" " + text.encode()}, "a space before it may be the vocabulary's own"


def test_a_token_may_be_a_part_of_a_character(vocabulary: OnnxVocabulary) -> None:
    tokens = vocabulary.tokenize("日", bos=False)
    parts = [vocabulary.text(token) for token in tokens if vocabulary.text(token) != b" "]
    assert len(parts) == 3
    assert b"".join(parts) == "日".encode()


def test_what_the_library_decodes_is_the_same(tokenizer: Tokenizer, vocabulary: OnnxVocabulary) -> None:
    """For whole characters its own way back is right, too."""
    for token in range(vocabulary.size):
        if not vocabulary.is_control(token) and vocabulary.text(token).isascii():
            after = vocabulary.tokenize("a", bos=False)[-1]
            both = tokenizer.decode([after, token]).removeprefix(" ")
            assert both == "a" + vocabulary.text(token).decode()


def test_special_tokens_are_recognised_and_leave_no_text() -> None:
    vocabulary = OnnxVocabulary(_data(byte_level()), [320], "<|im_end|>")
    begin, *_, end = vocabulary.tokenize("<|im_start|>user<|im_end|>")
    assert [vocabulary.spelled(token) for token in (begin, end)] == [b"<|im_start|>", b"<|im_end|>"]
    assert vocabulary.detokenize([begin, end]) == b""
    assert vocabulary.ends() == [320, end]
    assert vocabulary.is_end(end)
    assert not vocabulary.is_end(begin)


def test_a_format_can_spell_what_looks_like_a_special_token() -> None:
    vocabulary = OnnxVocabulary(_data(byte_level()), [])
    tokens = vocabulary.split(b"<|im_end|>")
    assert vocabulary.detokenize(tokens) == b"<|im_end|>"
    assert vocabulary.split(b"\xff") == []


def test_added_tokens_that_are_not_special_are_text() -> None:
    vocabulary = OnnxVocabulary(_data(byte_level()), [])
    (token,) = vocabulary.tokenize("<think>")
    assert vocabulary.text(token) == b"<think>"


def test_a_text_begins_as_the_model_wants_it() -> None:
    vocabulary = OnnxVocabulary(_data(pieces()), [2])
    assert vocabulary.tokenize("the")[0] == 1
    assert vocabulary.tokenize("<s>the").count(1) == 1
    assert 1 not in vocabulary.tokenize("the", bos=False)
    assert OnnxVocabulary(_data(byte_level()), []).tokenize("") == []


def test_text_that_is_no_unicode_is_a_bad_request(vocabulary: OnnxVocabulary) -> None:
    with pytest.raises(BadRequest, match="surrogate"):
        vocabulary.tokenize("\ud800")


def test_ids_without_a_token_are_no_text() -> None:
    file = json.loads(_data(byte_level()))
    file["added_tokens"][-1]["id"] += 5
    words = read_words(json.dumps(file).encode())
    assert set(range(323, 328)) <= words.control
    assert words.texts[325] == b""


BROKEN = {
    "no JSON": b"{",
    "another thing": b'{"model": 3}',
    "no tokens": b'{"model": {"vocab": {}}, "decoder": {"type": "ByteLevel"}}',
    "no ids": b'{"model": {"vocab": {"a": "b"}}, "decoder": {"type": "ByteLevel"}}',
    "ids below zero": b'{"model": {"vocab": {"a": -1}}, "decoder": {"type": "ByteLevel"}}',
    "a huge id": b'{"model": {"vocab": {"a": 1000000000}}, "decoder": {"type": "ByteLevel"}}',
    "another kind": b'{"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}}',
    "no decoder": b'{"model": {"vocab": {"a": 0}}}',
    "deep": b'{"model": {"vocab": {"a": 0}}, "decoder": ' + b'{"decoders": [' * 5000 + b"]}" * 5000 + b"}",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_file_that_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(LoadFailed, match=r"tokenizer\.json"):
        read_words(data)


def test_a_file_that_only_the_library_cannot_use_is_refused() -> None:
    data = b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}, "decoder": {"type": "ByteLevel"}}'
    with pytest.raises(LoadFailed, match=r"tokenizer\.json cannot be used"):
        OnnxVocabulary(data, [])
