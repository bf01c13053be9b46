"""Vectors over HTTP, with Ollama's own client."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from ollama import Client, ResponseError

from .fakes import Lengths, Registers


def test_each_text_has_a_vector(client: Callable[..., Client], installed: Callable[[object], None]) -> None:
    installed(Registers(embeddings=[Lengths()]))
    texts = [letter * number for number, letter in enumerate("abcdefghij", 1)]
    reply = client().embed("lengths", texts)
    assert len(reply.embeddings) == len(texts)
    for text, vector in zip(texts, reply.embeddings, strict=True):
        raw = [len(text), ord(text[0]), 1.0]
        assert vector == pytest.approx([number / math.hypot(*raw) for number in raw], abs=1e-6)


def test_each_kind_does_what_it_can(client: Callable[..., Client], installed: Callable[[object], None]) -> None:
    installed(Registers(embeddings=[Lengths()]))
    ollama = client()
    with pytest.raises(ResponseError, match='"lengths" does not support generate'):
        ollama.generate("lengths", "hi")
    with pytest.raises(ResponseError, match='"echo" does not support embeddings'):
        ollama.embed("echo", "hi")
