"""What a sequence says next: from the logits of its row to a piece, through its constraint and its sampler."""

from __future__ import annotations

import numpy as np

from remuda.engine import Piece, Sequence

from .. import _native
from ..vocab import Vocabulary
from .constraint import Guide
from .grammar import GrammarFailed
from .logprobs import Logprobs
from .sampler import Sampler, logits_of

__all__ = ["Choice"]


class Choice:
    """Chooses for one sequence. `close` frees it; after that it must not be used."""

    def __init__(
        self,
        sequence: Sequence,
        sampler: Sampler,
        guide: Guide | None,
        vocabulary: Vocabulary,
        visible: dict[int, bytes],
    ) -> None:
        """`visible` are the control tokens that leave their text."""
        self.sampler = sampler
        self._id, self._logprobs = sequence.id, sequence.logprobs
        self._guide, self._vocabulary, self._visible = guide, vocabulary, visible

    @property
    def ended(self) -> bool:
        """Whether the text matches its constraint, and nothing longer would."""
        return self._guide is not None and self._guide.ended

    def piece(self, context: _native.Context, row: int) -> Piece | None:
        """The next piece; None if the text ends. Raises `GrammarFailed`. The row's logits are used up."""
        told = None if self._logprobs is None else Logprobs(logits_of(context, row, self._vocabulary.size))
        guide = self._guide
        token = self.sampler.sample(context, row) if guide is None else self._guided(guide, context, row)
        data = self._vocabulary.piece(token) if token is not None else None
        if token is None or data is None:
            return None
        logprob = told.of(token, self._logprobs or 0, self._vocabulary) if told is not None else None
        return Piece(self._id, token, self._visible.get(token, data), logprob)

    def completion(self) -> bytes:
        """What the text lacks to match its constraint."""
        return self._guide.completion() if self._guide is not None else b""

    def close(self) -> None:
        """Free the sampler and the guide."""
        self.sampler.close()
        self._guide = None

    def _guided(self, guide: Guide, context: _native.Context, row: int) -> int | None:
        logits = logits_of(context, row, self._vocabulary.size)
        guide.mask(logits)
        while True:
            token = self.sampler.sample(context, row)
            if logits[token] == -np.inf:
                # All that is allowed is suppressed by the model's file, or nothing is.
                token = int(np.argmax(logits))
                if logits[token] == -np.inf:
                    if guide.accepts:
                        return None
                    raise GrammarFailed(500, "this model has no token that the format could go on with")
            if guide.take(token):
                return token
            logits[token] = -np.inf
