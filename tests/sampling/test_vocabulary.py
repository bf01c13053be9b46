"""What a vocabulary does with what an engine wrote."""

from __future__ import annotations

import pytest
from plain_vocabulary import CONTROL, END, PlainVocabulary

from remuda.errors import BadRequest


def control(vocabulary: PlainVocabulary, tag: str) -> int:
    return vocabulary.tokenize(tag, bos=False)[0]


def test_a_token_that_ends_the_text_is_no_piece(vocabulary):
    end = control(vocabulary, END)
    assert vocabulary.is_end(end)
    assert vocabulary.piece(end) is None
    assert vocabulary.text(end) == b""


def test_a_control_token_is_an_empty_piece(vocabulary):
    token = control(vocabulary, "<tag_open>")
    assert not vocabulary.is_end(token)
    assert vocabulary.piece(token) == b""


def test_pieces_are_looked_up_once(monkeypatch):
    asked = []
    monkeypatch.setattr(PlainVocabulary, "text", lambda self, token: asked.append(token) or b"x")
    monkeypatch.setattr(PlainVocabulary, "ends", lambda self: asked.append("ends") or [9])
    one = PlainVocabulary()
    assert [one.piece(token) for token in (5, 9, 5, 9)] == [b"x", None, b"x", None]
    assert asked == ["ends", 5]


def test_tokens_put_together_are_the_text(vocabulary):
    text = 'Hm {"name": "日本 🦄"}\n'
    tokens = vocabulary.tokenize(text + END)
    assert vocabulary.detokenize(tokens) == text.encode()
    assert len(tokens) < len(text.encode())


@pytest.mark.parametrize("token", [-1, 10**9])
def test_an_unknown_token_is_refused(vocabulary, token):
    with pytest.raises(BadRequest, match=f"not in the vocabulary: ids run from 0 to {vocabulary.size - 1}"):
        vocabulary.detokenize([1, token])


def test_only_texts_that_are_one_control_token_become_visible(vocabulary):
    assert vocabulary.visible([*CONTROL, "name", "", END + END, "<tag_open> "]) == {
        control(vocabulary, tag): tag.encode() for tag in CONTROL
    }
