"""Log probabilities as the model gave them, before options or a constraint changed anything."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..output import TokenLogprob
from .vocabulary import Vocabulary

__all__ = ["Logprobs", "likeliest"]

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
        top = [self._one(other, vocabulary) for other in likeliest(self._logits, most).tolist()]
        return TokenLogprob(vocabulary.spelled(token), self._value(token), top)

    def _one(self, token: int, vocabulary: Vocabulary) -> TokenLogprob:
        return TokenLogprob(vocabulary.spelled(token), self._value(token))

    def _value(self, token: int) -> float:
        return max(float(self._logits[token]) - self._total, _LEAST)


def likeliest(logits: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """Where the `most` highest of `logits` are: the highest first, the lower index first of equals."""
    most = min(most, len(logits))
    if most <= 0:
        return np.zeros(0, np.intp)
    least = np.partition(logits, -most)[-most]
    found = np.flatnonzero(logits >= least)
    order = np.argsort(-logits[found], kind="stable")
    return found[order[:most]]
