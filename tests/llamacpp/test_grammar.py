"""Grammars over vocabularies that are not like the demo model's."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGUFWriter, TokenType

from remuda.sampling import Grammars, Vocabulary
from remuda_llamacpp import _native
from remuda_llamacpp.vocab import LlamaVocabulary

# Closes, at the end of all tests, what llama-cpp-python opens when it is imported.
pytestmark = pytest.mark.usefixtures("load")

WORDS = ["▁", *'abc{}":12<>/', "▁{", "▁a", "▁ab", "ab", "abc", "▁abc", '{"', '"}', '▁"', "ÿ"]


@pytest.fixture
def vocabulary(tmp_path):
    """Of the SentencePiece kind: a space comes before every text, and after every token of a user's own."""
    models = []

    def make(*, end: bool = True) -> Vocabulary:
        tokens = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL)]
        tokens += [("</s>", TokenType.CONTROL if end else TokenType.NORMAL), ("<think>", TokenType.USER_DEFINED)]
        tokens += [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
        tokens += [(word, TokenType.NORMAL) for word in WORDS]
        file = GGUFWriter(tmp_path / "vocabulary.gguf", "llama")
        file.add_tokenizer_model("llama")
        file.add_token_list([text.encode() for text, _ in tokens])
        file.add_token_scores([-1.0 / len(text) for text, _ in tokens])
        file.add_token_types([int(kind) for _, kind in tokens])
        file.add_bos_token_id(1)
        if end:
            file.add_eos_token_id(2)
        file.add_add_space_prefix(True)
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.close()
        params = _native.model_params()
        params.vocab_only = True
        models.append(_native.model_load(bytes(tmp_path / "vocabulary.gguf"), params))
        assert models[-1]
        return LlamaVocabulary(_native.model_vocab(models[-1]))

    yield make
    for model in models:
        _native.model_free(model)


def written(vocabulary: Vocabulary, grammar: str) -> list[bytes]:
    """The pieces of a text whose every token is the last of those allowed."""
    matcher, pieces = Grammars(vocabulary).matcher(grammar), []
    while not matcher.ended:
        tokens = [token for token in np.flatnonzero(~matcher.forbidden()).tolist() if vocabulary.piece(token)]
        matcher.take(tokens[-1])
        pieces.append(vocabulary.piece(tokens[-1]))
    return pieces


def test_this_vocabulary_rewrites_texts(vocabulary):
    one = vocabulary()
    assert one.detokenize(one.split(b"abc")) == b" abc"
    assert one.detokenize(one.split(b"<think>abc")) == b"<think> abc"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("abc", ["abc"]),
        ('{"abc":1}', ['{"', "abc", '"', ":", "1", "}"]),
        ("<think>abc", ["<think>", "abc"]),
        ("abc<think>abc", ["abc", "<think>", "abc"]),
        (" abc", [" abc"]),
        ("é", ["\udcc3", "\udca9"]),
    ],
)
def test_what_is_forced_is_spelled_exactly(vocabulary, text, pieces):
    quoted = text.replace('"', '\\"')
    assert written(vocabulary(), f'start: "{quoted}"') == [piece.encode(errors="surrogateescape") for piece in pieces]


def test_control_tokens_and_ends_spell_nothing(vocabulary):
    assert b"</s>" not in written(vocabulary(), 'start: "</s>a"')
    kinds = Grammars(one := vocabulary())
    kinds.matcher('start: "a"')
    assert kinds.kinds.ends.tolist() == [2]
    assert all(one.spelled(token).isspace() for token in kinds.kinds.blanks.tolist())
    assert {one.spelled(token) for token in kinds.kinds.spaced.tolist()} == {b" {", b" a", b" ab", b" abc", b' "'}
    for spaced, bare in zip(kinds.kinds.spaced.tolist(), kinds.kinds.bare.tolist(), strict=True):
        assert one.spelled(spaced) == b" " + one.spelled(bare)


def test_a_vocabulary_without_an_end_has_grammars_too(vocabulary):
    one = vocabulary(end=False)
    grammars = Grammars(one)
    matcher = grammars.matcher("start: /a+/")
    if not one.ends():
        matcher.take_bytes(b"a")
        assert matcher.accepts
    assert written(one, 'start: "abc"') == [b"abc"]


def test_bytes_are_taken_given_back_and_asked_for(vocabulary):
    matcher = Grammars(vocabulary()).matcher("start: /a(b|é)c?/")
    assert matcher.forced() == b"a"
    assert not matcher.could_take_bytes(b"ac")
    matcher.take_bytes(b"a\xc3")
    assert matcher.forced() == b"\xa9"
    matcher.give_back(1)
    assert matcher.forced() == b""
    assert matcher.allowed_bytes() == [ord("b"), 0xC3]
    copy = matcher.copy()
    copy.take_bytes(b"bc")
    assert copy.ended
    assert copy.accepts
    assert not copy.could_take_bytes(b"c")
    assert not matcher.accepts
