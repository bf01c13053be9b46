"""Text to tokens and back, byte for byte."""

from __future__ import annotations

import pytest

from remuda.errors import BadRequest

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two  spaces and a tab\t\n\n",
    "naïve café — “quotes” …",
    "日本語のテキスト 한국어 العربية",
    "👩‍👩‍👧‍👦🏳️‍🌈 \U0010ffff",
    "a\0b\0",
    "def f(x):\n    return x ** 2\n" * 50,
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_tokenized_comes_back(engine, text):
    tokens = engine.tokenize(text, bos=False)
    assert engine.detokenize(tokens) == text.encode()


def test_special_tokens_written_out_are_recognised_and_have_no_text(engine):
    (token,) = engine.tokenize("<|im_start|>")
    assert engine.detokenize([token]) == b""
    assert engine.tokenize("a<|im_start|>b")[1] == token


def test_half_a_character_is_a_piece(engine):
    tokens = engine.tokenize("🦄", bos=False)
    assert len(tokens) > 1
    pieces = [engine.detokenize([token]) for token in tokens]
    assert b"".join(pieces) == "🦄".encode()
    assert pieces[0] != "🦄".encode()


def test_pieces_put_together_are_the_detokenized_text(driver):
    text = driver.alone("A poem with emojis 🦄 and 日本語:", most=24, temperature=1.5, seed=3)
    assert driver.engine.detokenize(text.tokens) == text.data


def test_a_long_text_is_tokenized_whole(engine):
    text = "word " * 40_000
    assert engine.detokenize(engine.tokenize(text, bos=False)) == text.encode()


def test_a_bos_that_is_written_out_is_not_doubled(engine, monkeypatch):
    from remuda_llamacpp import _native

    bos = engine._vocabulary.bos
    assert engine.tokenize("<|im_start|>Hi")[:2].count(bos) == 1  # this model's BOS; it does not add one itself
    monkeypatch.setattr(_native, "vocab_adds_bos", lambda _vocab: True)
    monkeypatch.setattr(_native, "tokenize", _with_bos(bos, _native.tokenize))
    assert engine.tokenize("<|im_start|>Hi")[:2].count(bos) == 1
    assert engine.tokenize("Hi")[0] == bos
    assert engine.tokenize("Hi", bos=False)[0] != bos


def _with_bos(bos, tokenize):
    """As for a model that wants a BOS before every text."""

    def wrapped(vocab, data, length, tokens, room, special, parse):
        count = tokenize(vocab, data, length, tokens, room, special, parse)
        if special and count >= 0:
            tokens[1 : count + 1] = tokens[:count]
            tokens[0] = bos
            count += 1
        return count

    return wrapped


@pytest.mark.parametrize("token", [-1, 10**9])
def test_an_unknown_token_is_refused(engine, token):
    with pytest.raises(BadRequest, match="not in the vocabulary"):
        engine.detokenize([token])


def test_a_lone_surrogate_is_refused(engine):
    with pytest.raises(BadRequest, match="surrogate"):
        engine.tokenize("a\ud800b")
