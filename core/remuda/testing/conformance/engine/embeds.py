"""Vectors of texts."""

from __future__ import annotations

import math
from array import array
from typing import Final

import pytest

from remuda.engine import Engine
from remuda.errors import BadRequest

from .fixtures import NARROW, EngineFixtures, Load

__all__ = ["EmbedTests"]

_PIECES: Final = 16
"""So many pieces a call may take, beside one for each token."""


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
            _embed(shared_engine, [[1]])

    def test_a_vector_for_each_input(self, embedder: Engine) -> None:
        """`embed`: float32 in the machine's byte order, one for each of as many inputs as it takes, in their order."""
        inputs = self._inputs(embedder)
        vectors = _embed(embedder, inputs)
        assert len({len(vector) for vector in vectors}) == 1
        assert all(math.isfinite(number) for vector in vectors for number in vector)
        backwards = _embed(embedder, inputs[::-1])[::-1]
        assert all(map(_near, vectors, backwards))

    def test_a_vector_is_that_of_its_text(self, embedder: Engine) -> None:
        """The same text has the same vector, alone or among others, and another text another one."""
        inputs = self._inputs(embedder)[:2]
        together = _embed(embedder, inputs)
        alone = [_embed(embedder, [tokens])[0] for tokens in inputs]
        assert all(map(_near, together, alone))
        assert len(inputs) < 2 or not _near(*alone)
        assert all(map(_near, together, _embed(embedder, inputs)))

    def test_an_input_is_cut_to_its_limit(self, embedder: Engine) -> None:
        """`tokenize_input`: at most `limit` tokens, the special ones round the text among them; and how many uncut."""
        text = " ".join(self.prompts)
        tokens, uncut = embedder.tokenize_input(text, embedder.context)
        assert len(tokens) == min(uncut, embedder.context)
        limit = len(tokens) // 2
        cut, still = embedder.tokenize_input(text, limit)
        assert (len(cut), still) == (limit, uncut)
        assert all(0 <= token < embedder.vocabulary for token in cut)
        assert _embed(embedder, [cut])[0]

    def test_a_limit_without_room_is_a_bad_request(self, embedder: Engine) -> None:
        """`tokenize_input`: so it is if the special tokens alone are more; a model without any has room for one."""
        try:
            tokens, _ = embedder.tokenize_input(self.prompts[0], 1)
        except BadRequest:
            return
        assert len(tokens) == 1

    def test_one_input_may_fill_the_context(self, embedder: Engine) -> None:
        """`embed_room`: one input alone may have `context` tokens."""
        tokens = self._long(embedder, embedder.context)
        assert all(map(math.isfinite, _embed(embedder, [tokens])[0]))

    def test_a_call_that_is_closed_leaves_no_trace(self, embedder: Engine) -> None:
        """`embedding`: the host closes it before its end when nobody wants the vectors any more."""
        inputs, long = self._inputs(embedder), self._long(embedder, embedder.context)
        expected = _embed(embedder, inputs)
        for pieces in (0, 1, 2, 5):
            call = _Call(embedder, [long])
            for _ in range(pieces):
                call.piece()
            call.close()
            assert all(map(_near, expected, _embed(embedder, inputs)))

    def test_a_call_that_is_closed_frees_what_it_held(self, embedder: Engine, load: Load) -> None:
        """As above: every place is free for a text, and that is what it would have been."""
        driver = load(num_batch=NARROW)
        prompt = driver.lasting(4)
        expected = driver.alone(prompt, most=4).data
        for pieces in (1, 2, 5):
            call = _Call(driver.engine, [self._long(embedder, driver.engine.context // 2)])
            for _ in range(pieces):
                call.piece()
            call.close()
            saids = [driver.submit(prompt, most=4) for _ in range(driver.places)]
            driver.run(*saids)
            assert [said.data for said in saids] == [expected] * len(saids)

    @pytest.mark.parametrize("pieces", [0, 2])
    def test_texts_and_vectors_take_turns(self, embedder: Engine, load: Load, pieces: int) -> None:
        """`embedding`: a piece between two steps, while every place is taken, before it or after so many pieces.

        One may wait for the other's end, but not both; and what comes out is what it would have been.
        """
        driver = load(num_batch=NARROW)
        engine, prompt = driver.engine, driver.lasting(10)
        inputs = [self._long(engine, min(engine.context // 2, 8 * NARROW))]
        text, vectors = driver.alone(prompt, most=10).data, _embed(engine, inputs)
        call = _Call(engine, inputs)
        for _ in range(pieces):
            call.piece()
        saids = [driver.submit(prompt, most=10) for _ in range(driver.places)]
        while any(said.end is None for said in saids):
            call.piece()
            driver.step()
        assert [said.data for said in saids] == [text] * len(saids)
        assert all(map(_near, vectors, call.finish()))

    def _inputs(self, engine: Engine) -> list[list[int]]:
        """As many as it takes at once: `embed_most` of them, with `embed_room` tokens together."""
        longest = min(12, engine.context, engine.embed_room)
        many = max(1, min(engine.embed_most, engine.embed_room // longest))
        texts = [f"{number} {self.prompts[number % len(self.prompts)]}" for number in range(many)]
        return [engine.tokenize_input(text, longest)[0] for text in texts]

    def _long(self, engine: Engine, limit: int) -> list[int]:
        text = " ".join(self.prompts) * limit
        tokens, uncut = engine.tokenize_input(text[: 50 * limit], limit)
        assert len(tokens) == min(uncut, limit)
        return tokens


class _Call:
    """A call of `embedding`, which the host does in pieces."""

    def __init__(self, engine: Engine, inputs: list[list[int]]) -> None:
        self._call, self._most = engine.embedding(inputs), _PIECES + sum(map(len, inputs))
        self._vectors: list[list[float]] | None = None

    def piece(self) -> None:
        """Nothing when it is done."""
        try:
            if self._vectors is None:
                next(self._call)
        except StopIteration as end:
            self._vectors = [_vector(data) for data in end.value]

    def finish(self) -> list[list[float]]:
        """The vectors. Nobody else should be live."""
        for _ in range(self._most):
            self.piece()
            if self._vectors is not None:
                return self._vectors
        raise AssertionError(f"no vectors after {self._most} pieces")

    def close(self) -> None:
        self._call.close()


def _embed(engine: Engine, inputs: list[list[int]]) -> list[list[float]]:
    vectors = _Call(engine, inputs).finish()
    assert len(vectors) == len(inputs)
    return vectors


def _vector(data: bytes) -> list[float]:
    assert data
    assert len(data) % 4 == 0
    return array("f", data).tolist()


def _near(one: list[float], other: list[float]) -> bool:
    """Whether they point the same way: how they are batched may change the last digits."""
    length = math.hypot(*one) * math.hypot(*other)
    return length > 0 and sum(a * b for a, b in zip(one, other, strict=True)) / length > 0.9999
