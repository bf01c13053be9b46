"""Formats and vectors, where the model has them."""

from __future__ import annotations

import json
import math
import re
from array import array
from typing import Any, Final

import pytest

from remuda.backend import Embeds, Generates, LoadedModel
from remuda.errors import BadRequest
from remuda.output import Constraint

from .fixtures import BackendFixtures, at_rest, read

__all__ = ["EmbedTests", "FormatTests"]

_OBJECT: Final = Constraint(grammar='{"grammars": [{"json_schema": {"type": "object"}}]}')
_YEAR: Final = Constraint(grammar="start: /[0-9]{4}/")


class FormatTests(BackendFixtures):
    """Left out for a model that cannot keep to a format."""

    @pytest.fixture
    async def guided(self, prompted: Generates) -> Generates:
        try:
            await read(prompted, self.job(constraint=_YEAR))
        except BadRequest as refused:
            if "cannot keep to a format" not in str(refused):
                raise
            pytest.skip("this model takes no constraints")
        return prompted

    @pytest.mark.parametrize("most", [1, 2, 5, 24])
    async def test_an_object_parses_however_it_ends(self, guided: Generates, most: int) -> None:
        """`GenerateJob.constraint`: the text matches it however the generation ends."""
        for options in ({}, {"temperature": 1.0, "seed": most}):
            reply = await read(guided, self.job(most=most, constraint=_OBJECT, options=options))
            assert isinstance(json.loads(reply.text), dict), reply.text

    async def test_a_text_that_matches_ends(self, guided: Generates) -> None:
        """With "stop", where nothing longer would match."""
        reply = await read(guided, self.job(most=20, constraint=_YEAR))
        assert re.fullmatch("[0-9]{4}", reply.text)
        assert reply.done.reason == "stop"

    @pytest.mark.parametrize("grammar", ["", "{", "start: nothing"])
    async def test_a_grammar_that_is_none_is_a_bad_request(self, guided: Generates, grammar: str) -> None:
        """The client's own fault, and nobody else's."""
        with pytest.raises(BadRequest):
            await read(guided, self.job(constraint=Constraint(grammar=grammar)))
        assert (await read(guided, self.job())).text


class EmbedTests(BackendFixtures):
    """All but the first are left out for a model that gives no vectors."""

    @pytest.fixture
    def embedder(self, loaded: LoadedModel) -> Embeds:
        if not (isinstance(loaded, Embeds) and loaded.embeds):
            pytest.skip("this model gives no vectors")
        return loaded

    async def test_a_model_without_vectors_says_so(self, loaded: LoadedModel) -> None:
        """`embed`: raise `BadRequest` for a model that gives none."""
        if not isinstance(loaded, Embeds) or loaded.embeds:
            pytest.skip("this model gives vectors, or is not said to")
        with pytest.raises(BadRequest):
            await loaded.embed(self.embed_job(["text"]))

    async def test_a_vector_for_each_input(self, embedder: Embeds) -> None:
        """`Embedded`: float32 in the machine's byte order, in the order of the inputs; and their tokens are counted."""
        inputs = [f"{number % 3} {self.prompt}" for number in range(40)]
        embedded = await embedder.embed(self.embed_job(inputs))
        vectors = [array("f", data).tolist() for data in embedded.vectors]
        assert len(vectors) == len(inputs)
        assert len({len(vector) for vector in vectors}) == 1
        assert all(math.isfinite(number) for vector in vectors for number in vector)
        assert not embedded.tokens or embedded.tokens >= len(inputs)
        for vector, same, other in zip(vectors, vectors[3:], vectors[4:], strict=False):
            assert math.dist(vector, same) < 1e-2 * math.hypot(*vector)
            assert math.dist(vector, other) > math.dist(vector, same)

    async def test_no_inputs_have_no_vectors(self, embedder: Embeds) -> None:
        """`embed`: one for each input."""
        embedded = await embedder.embed(self.embed_job([]))
        assert (embedded.vectors, embedded.tokens) == ([], 0)

    @pytest.mark.parametrize("truncate", [True, False])
    async def test_a_long_input_is_cut_or_refused(self, embedder: Embeds, truncate: bool) -> None:
        """`truncate`: cut an input that is longer than `limit`; else raise `BadRequest`."""
        job: dict[str, Any] = {"limit": 8, "truncate": truncate}
        if truncate:
            assert (await embedder.embed(self.embed_job([self.long_prompt()], **job))).tokens <= 8
        else:
            with pytest.raises(BadRequest):
                await embedder.embed(self.embed_job([self.long_prompt()], **job))
        await at_rest(embedder)
