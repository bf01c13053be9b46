"""A model that gives vectors. `llm` has no asynchronous ones: they work in a thread."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import aclosing

from remuda.backend import Embedded, EmbedJob, Embeds

from .loaded import Loaded
from .threads import threaded
from .trouble import translated

__all__ = ["Embedder"]


class Embedder(Loaded, Embeds):
    async def embed(self, job: EmbedJob) -> Embedded:
        """Tokens are not counted, since `llm` does not tell them, and nothing is cut: that is left to the model.

        Cancelling stops the work after the batch that the model is at.
        """
        model = self._open().embedding
        assert model is not None

        def vectors() -> Iterator[bytes]:
            for vector in model.embed_multi(job.inputs):
                yield array("f", vector).tobytes()

        if not job.inputs:
            return Embedded([], 0)
        with self._counted(), translated(self.name):
            async with aclosing(threaded(vectors)) as coming:
                return Embedded([vector async for vector in coming], 0)
