"""Vectors of texts."""

from __future__ import annotations

import math
from array import array

import pytest

from remuda.engine import Engine
from remuda.errors import BadRequest

from .driver import Driver
from .fixtures import EngineFixtures

__all__ = ["EmbedTests"]


class EmbedTests(EngineFixtures):
    """All but the first are left out for a model that gives no embeddings."""

    @pytest.fixture
    def embedder(self, shared_engine: Engine) -> Engine:
        if not shared_engine.embed_most:
            pytest.skip("this model gives no embeddings")
        return shared_engine

    def test_a_model_without_embeddings_says_so(self, shared_engine: Engine) -> None:
        """`embed_most` is 0 then, and asking all the same is a `BadRequest`."""
        if shared_engine.embed_most:
            pytest.skip("this model gives embeddings")
        with pytest.raises(BadRequest):
            shared_engine.tokenize_input("text", 16)
        with pytest.raises(BadRequest):
            shared_engine.embed([[1]])

    def test_a_vector_for_each_input(self, embedder: Engine) -> None:
        """`embed`: float32 in the machine's byte order, one for each of as many inputs as it takes, in their order."""
        inputs = self._inputs(embedder)
        vectors = [_vector(data) for data in embedder.embed(inputs)]
        assert len(vectors) == len(inputs)
        assert len({len(vector) for vector in vectors}) == 1
        assert all(math.isfinite(number) for vector in vectors for number in vector)
        backwards = [_vector(data) for data in embedder.embed(inputs[::-1])][::-1]
        for one, same in zip(vectors, backwards, strict=True):
            assert _near(one, same)

    def test_a_vector_is_that_of_its_text(self, embedder: Engine) -> None:
        """The same text has the same vector, alone or among others, and another text another one."""
        inputs = self._inputs(embedder)[:2]
        together = [_vector(data) for data in embedder.embed(inputs)]
        alone = [_vector(embedder.embed([tokens])[0]) for tokens in inputs]
        for one, same in zip(together, alone, strict=True):
            assert _near(one, same)
        assert len(inputs) < 2 or not _near(*alone)

    def test_an_input_is_cut_to_its_limit(self, embedder: Engine) -> None:
        """`tokenize_input`: at most `limit` tokens, the special ones round the text among them; and how many uncut."""
        text = " ".join(self.prompts)
        tokens, uncut = embedder.tokenize_input(text, embedder.context)
        assert len(tokens) == min(uncut, embedder.context)
        limit = len(tokens) // 2
        cut, still = embedder.tokenize_input(text, limit)
        assert (len(cut), still) == (limit, uncut)
        assert all(0 <= token < embedder.vocabulary for token in cut)
        assert _vector(embedder.embed([cut])[0])

    def test_a_limit_without_room_is_a_bad_request(self, embedder: Engine) -> None:
        """`tokenize_input`: so it is if the special tokens alone are more; a model without any has room for one."""
        try:
            tokens, _ = embedder.tokenize_input(self.prompts[0], 1)
        except BadRequest:
            return
        assert len(tokens) == 1

    def test_one_input_may_fill_the_context(self, embedder: Engine) -> None:
        """`embed_room`: one input alone may have `context` tokens."""
        text = " ".join(self.prompts) * embedder.context
        tokens, uncut = embedder.tokenize_input(text[: 50 * embedder.context], embedder.context)
        assert len(tokens) == min(uncut, embedder.context)
        assert all(map(math.isfinite, _vector(embedder.embed([tokens])[0])))

    def test_embedding_between_two_steps_changes_no_text(self, embedder: Engine, driver: Driver) -> None:
        """`embed` is called between two steps only, but then whoever is live."""
        prompt = driver.lasting(10)
        expected = driver.alone(prompt, most=10).data
        said = driver.submit(prompt, most=10)
        while said.end is None:
            driver.step()
            embedder.embed(self._inputs(embedder)[:1])
        assert said.data == expected

    def _inputs(self, engine: Engine) -> list[list[int]]:
        """As many as it takes at once: `embed_most` of them, with `embed_room` tokens together."""
        longest = min(12, engine.context, engine.embed_room)
        many = max(1, min(engine.embed_most, engine.embed_room // longest))
        texts = [f"{number} {self.prompts[number % len(self.prompts)]}" for number in range(many)]
        return [engine.tokenize_input(text, longest)[0] for text in texts]


def _vector(data: bytes) -> list[float]:
    assert data
    assert len(data) % 4 == 0
    return array("f", data).tolist()


def _near(one: list[float], other: list[float]) -> bool:
    """Whether they point the same way: how they are batched may change the last digits."""
    length = math.hypot(*one) * math.hypot(*other)
    return length > 0 and sum(a * b for a, b in zip(one, other, strict=True)) / length > 0.9999
