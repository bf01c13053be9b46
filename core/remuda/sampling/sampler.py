"""From logits to a token, in numpy: for engines that give logits and have no good sampler of their own.

Options mean what they mean to llama.cpp (`llama-sampler.cpp`) and act in the order of its server, which the
protocol's reference uses: penalties, top_k, typical_p, top_p, min_p, temperature, and the draw. Each leaves at least
one token. Of equally likely ones those with the lower ids are kept, where llama.cpp keeps any.

Numbers are summed in float64 and compared in float32, the precision of options: ten equal tokens and a top_p of 0.3
keep three of them, although 0.1 + 0.1 + 0.1 is not 0.3.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..engine import Sequence
from ..wire.options import Options
from .logprobs import likeliest

__all__ = ["Sampler"]


class Sampler:
    """Samples one sequence.

    The same seed, options and logits give the same tokens. Another engine draws others with that seed, llama.cpp's
    among them: its generator is not numpy's.
    """

    def __init__(self, sequence: Sequence, context: int, vocabulary: int) -> None:
        """`context`: how many tokens a sequence may hold. `vocabulary`: how many tokens there are, one logit each."""
        self._options = sequence.options
        self._random = np.random.Generator(np.random.PCG64(sequence.seed))
        self._penalties = _penalties(sequence, context, vocabulary)

    def sample(self, logits: NDArray[np.float32]) -> int:
        """The next token; the penalties take note of it. `logits` stays as it is.

        A token whose logit is minus infinity comes only where there is no other.
        """
        if self._penalties is None:
            return self._choose(logits)
        token = self._choose(self._penalties.applied(logits))
        self._penalties.push(token)
        return token

    def _choose(self, logits: NDArray[np.float32]) -> int:
        if self._options.temperature <= 0:
            return int(np.argmax(logits))
        tokens, weights = self._weigh(logits)
        sums = np.cumsum(weights)
        drawn = self._random.random() * float(sums[-1])
        return int(tokens[np.searchsorted(sums, drawn, side="right")])

    def _weigh(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The tokens among which is drawn, and how likely each is to be drawn: 1 for the likeliest."""
        options = self._options
        tokens = np.flatnonzero(np.isfinite(logits))
        if not len(tokens):
            return np.argmax(logits, keepdims=True), np.ones(1)
        if options.top_k > 0:
            tokens = tokens[likeliest(logits[tokens], options.top_k)]
        values = logits[tokens].astype(np.float64)
        if options.typical_p < 1:
            kept = _typical(values, options.typical_p)
            tokens, values = tokens[kept], values[kept]
        if options.top_p < 1:
            kept = _top(values, options.top_p)
            tokens, values = tokens[kept], values[kept]
        best = values.max()
        if options.min_p > 0:
            kept = values >= np.float32(best + math.log(options.min_p))
            tokens, values = tokens[kept], values[kept]
        # With a temperature of next to nothing all but the likeliest are infinitely far from it.
        with np.errstate(over="ignore"):
            return tokens, np.exp((values - best) / options.temperature)


def _typical(values: NDArray[np.float64], most: float) -> NDArray[np.intp]:
    """Where those are whose surprise is nearest to the mean one, until they have more than `most` together."""
    logs = _log_shares(values)
    shares = np.exp(logs)
    mean = -np.sum(shares * logs)
    order = np.argsort(np.abs(-logs - mean), kind="stable")
    return order[: _count(shares[order], most, side="right")]


def _top(values: NDArray[np.float64], most: float) -> NDArray[np.intp]:
    """Where the likeliest are, until they have `most` together."""
    shares = np.exp(_log_shares(values))
    # Below this they are less than what may be left out, even all together: they need no sorting. Half of it, because
    # sums are rounded.
    likely = np.flatnonzero(shares >= (1 - most) / len(shares) / 2)
    order = likely[np.argsort(-values[likely], kind="stable")]
    return order[: _count(shares[order], most, side="left")]


def _log_shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    less = values - values.max()
    return less - np.log(np.exp(less).sum())


def _count(shares: NDArray[np.float64], most: float, *, side: Literal["left", "right"]) -> int:
    """How many of `shares` it takes to have `most` together; on the side "right" to have more."""
    return int(np.searchsorted(np.cumsum(shares).astype(np.float32), np.float32(most), side=side)) + 1


# --- penalties ---


def _penalties(sequence: Sequence, context: int, vocabulary: int) -> _Penalties | None:
    """Those that know the end of the prompt; None where they would change nothing."""
    options = sequence.options
    back = context if options.repeat_last_n < 0 else min(options.repeat_last_n, context)
    if back == 0 or (options.repeat_penalty, options.frequency_penalty, options.presence_penalty) == (1.0, 0.0, 0.0):
        return None
    penalties = _Penalties(options, back, vocabulary)
    for token in sequence.tokens[-back:]:
        penalties.push(token)
    return penalties


class _Penalties:
    """Penalties for the last `back` tokens of a text."""

    def __init__(self, options: Options, back: int, vocabulary: int) -> None:
        self._options = options
        self._back = back
        self._tokens = deque[int]()
        self._counts = np.zeros(vocabulary, np.int32)
        """How often each token of the vocabulary is among `_tokens`."""

    def push(self, token: int) -> None:
        """This one follows."""
        self._tokens.append(token)
        self._note(token, 1)
        if len(self._tokens) > self._back:
            self._note(self._tokens.popleft(), -1)

    def _note(self, token: int, change: int) -> None:
        # A place of an image is among the tokens of a prompt, and in no vocabulary.
        if token >= 0:
            self._counts[token] += change

    def applied(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """`logits` with penalties, as an array of its own."""
        options = self._options
        seen = np.flatnonzero(self._counts)
        found = logits[seen]
        logits = logits.copy()
        with np.errstate(over="ignore"):
            # Dividing what is below zero would make it likelier.
            found = np.where(found <= 0, found * options.repeat_penalty, found / options.repeat_penalty)
            logits[seen] = found - (self._counts[seen] * options.frequency_penalty + options.presence_penalty)
        return logits
