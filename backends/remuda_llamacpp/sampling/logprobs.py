"""Log probabilities as the model gave them, before options or a constraint changed anything."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from remuda.output import TokenLogprob

from ..vocab import Vocabulary

__all__ = ["Logprobs"]

_LEAST = -9999.0
"""Stands for minus infinity, which JSON does not have."""


class Logprobs:
    """The log probabilities of one place. `logits` is copied: masks are written into the row."""

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self._logits = logits.copy()
        largest = float(self._logits.max())
        # In float32 each term is exact enough; their sum over a whole vocabulary is not.
        self._total = largest + math.log(float(np.exp(self._logits - largest).sum(dtype=np.float64)))

    def of(self, token: int, most: int, vocabulary: Vocabulary) -> TokenLogprob:
        """That of `token`, and of the `most` likeliest: likeliest first, the lower id first of equals."""
        top = [self._one(other, vocabulary) for other in self._likeliest(most)]
        return TokenLogprob(vocabulary.spelled(token), self._value(token), top)

    def _one(self, token: int, vocabulary: Vocabulary) -> TokenLogprob:
        return TokenLogprob(vocabulary.spelled(token), self._value(token))

    def _value(self, token: int) -> float:
        return max(float(self._logits[token]) - self._total, _LEAST)

    def _likeliest(self, most: int) -> list[int]:
        most = min(most, len(self._logits))
        if most <= 0:
            return []
        least = np.partition(self._logits, -most)[-most]
        tokens = np.flatnonzero(self._logits >= least)
        order = np.argsort(-self._logits[tokens], kind="stable")
        return tokens[order[:most]].tolist()
