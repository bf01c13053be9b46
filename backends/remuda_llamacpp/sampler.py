"""From logits to a token: one chain of llama.cpp's samplers for each sequence.

The order is that of llama.cpp's server, which the protocol's reference uses: penalties, top_k, typical_p, top_p,
min_p, temperature, and the draw. A sampler whose option is neutral is left out.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remuda.engine import Sequence

from . import _native

__all__ = ["Sampler", "logits_of"]

_NOTHING = 1e-30
_HIGHEST = 0xFFFFFFFE
"""Seed: llama.cpp takes the next one for a wish to draw at random."""


class Sampler:
    """Samples one sequence. `close` frees it; after that it must not be used."""

    def __init__(self, sequence: Sequence, context: int, vocabulary: int, suppressed: list[int]) -> None:
        """`context`: how many tokens a sequence may hold. `vocabulary`: how many tokens there are.

        `suppressed` never come.
        """
        self._vocabulary = vocabulary
        self._chain = _native.chain_new(_native.chain_params())
        self.plain = not suppressed
        """Nothing but the likeliest token is asked for."""
        if suppressed:
            self._add(_native.forbid(vocabulary, suppressed))
        if self._add_penalties(sequence, context):
            self.plain = False
        self._add_choice(sequence)
        self.plain = self.plain and sequence.options.temperature <= 0

    def _add(self, sampler: _native.Sampler) -> None:
        _native.chain_add(self._chain, sampler)

    def _add_penalties(self, sequence: Sequence, context: int) -> bool:
        options = sequence.options
        # The sampler reserves memory for as many tokens as it looks back at: never more than can be there.
        back = context if options.repeat_last_n < 0 else min(options.repeat_last_n, context)
        given = (options.repeat_penalty, options.frequency_penalty, options.presence_penalty)
        if back == 0 or given == (1.0, 0.0, 0.0):
            return False
        penalties = _native.penalties(self._vocabulary, back, *given)
        for token in sequence.tokens[-back:]:
            _native.sampler_accept(penalties, token)
        self._add(penalties)
        return True

    def _add_choice(self, sequence: Sequence) -> None:
        options = sequence.options
        if options.temperature <= 0:
            self._add(_native.greedy())
            return
        if options.top_k > 0:
            self._add(_native.top_k(options.top_k))
        if sequence.constraint is not None:
            # Takes out what a mask made impossible: a likelihood of nothing is no number to what follows.
            self._add(_native.min_p(_NOTHING, 1))
        if options.typical_p < 1:
            self._add(_native.typical(options.typical_p, 1))
        if options.top_p < 1:
            self._add(_native.top_p(options.top_p, 1))
        if options.min_p > 0:
            self._add(_native.min_p(options.min_p, 1))
        if options.temperature != 1:
            self._add(_native.temperature(options.temperature))
        self._add(_native.dist(min(sequence.seed & 0xFFFFFFFF, _HIGHEST)))

    def sample(self, context: _native.Context, row: int, logits: NDArray[np.float32]) -> int:
        """The next token, from the `logits` of `row` of the last batch. Penalties take note of it."""
        if self.plain:
            # The likeliest, the lowest id of equals, as the chain's sampler takes it. The chain would copy the whole
            # vocabulary first: 100 microseconds at 49,000 tokens, this takes 10.
            return int(logits.argmax())
        return _native.sample(self._chain, context, row)

    def close(self) -> None:
        """Free the chain and its samplers."""
        _native.sampler_free(self._chain)


def logits_of(context: _native.Context, row: int, vocabulary: int) -> NDArray[np.float32]:
    """The logits of a row of the last batch, in place: valid, and to be changed, until the next decode."""
    return _floats(ctypes.addressof(_native.logits(context, row).contents), vocabulary)


@lru_cache(maxsize=256)
def _floats(address: int, count: int) -> NDArray[np.float32]:
    """Rows lie where they lay before: making the array anew takes longer than finding the likeliest token in it."""
    values: Any = (ctypes.c_float * count).from_address(address)
    return np.frombuffer(values, np.float32)
