"""Engines that lack what not every one has, and what is left out for them.

Not collected by itself: `test_broken.py` runs it, and looks at what is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from toy_engine import Live, ToyEngine

from remuda import BadRequest, Engine, Sequence, TokenLogprob
from remuda.testing import EngineConformance

LEFT_OUT = {
    "TestOnePlace::test_texts_together_are_the_texts_alone": "needs batching: this engine was loaded with a",
    "TestOnePlace::test_one_more_than_there_are_places_is_refused": "needs batching: this engine was loaded with a",
    "TestNoBatching::test_limits_are_each_ones_own": "needs batching: this engine is said to take one sequence",
    "TestNoBatching::test_seeds_give_different_texts": "for this reason",
    "TestPlain::test_options_do_not_change_them": "this engine tells no log probabilities",
    "TestPlain::test_an_object_parses_wherever_it_is_cut": "this engine takes no constraints",
    "TestPlain::test_a_vector_for_each_input": "this model gives no embeddings",
    "TestEmbedder::test_cancel_while_writing": "this model gives embeddings and continues no texts",
    "TestEmbedder::test_a_step_reads_no_more_than_a_batch": "this model gives embeddings and continues no texts",
}
"""How each reason begins."""


class PlainEngine(ToyEngine):
    """Texts, and nothing else."""

    embed_most = embed_room = 0
    compile = Engine.compile
    tokenize_input = Engine.tokenize_input
    embed = Engine.embed

    def logprob(self, live: Live, token: int) -> TokenLogprob | None:
        return None


class EmbeddingEngine(ToyEngine):
    """Vectors, and nothing else."""

    def submit(self, sequence: Sequence) -> None:
        raise BadRequest("this model does not support generate")


class _Toys(EngineConformance):
    engine = ToyEngine

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, toy: Path) -> Path:
        return toy


class TestOnePlace(_Toys):
    parallel = 1


class TestNoBatching(_Toys):
    batches = False
    skips: ClassVar[dict[str, Any]] = {"test_seeds_give_different_texts": "for this reason"}


class TestPlain(_Toys):
    engine = PlainEngine


class TestEmbedder(_Toys):
    engine = EmbeddingEngine
