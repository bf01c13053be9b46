"""A slot: a text and its cache, read in micro-batches, and used again where the next text begins alike.

A token's numbers depend a little on the micro-batch that it was computed in, and in quantized models more than a
little. So that a text says the same whatever was there before it, only whole micro-batches of a prompt are used again:
those always begin at the same places. What was generated, a token at a time, is computed anew when it comes back.
"""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from .decoder import Cache, Decoder
from .native import Stop

__all__ = ["Slot"]


class Slot:
    """`micro_batch` is how many tokens of a prompt are computed at a time."""

    def __init__(self, decoder: Decoder, micro_batch: int) -> None:
        self._decoder, self._micro_batch = decoder, micro_batch
        self._tokens: list[int] = []
        self._cache: Cache = decoder.empty
        self._whole = 0
        """So many tokens of the cache were computed in whole micro-batches."""
        self._owner = ""
        self.logits: NDArray[np.float32] = np.zeros(0, np.float32)
        """Those after the last token that was computed; may be written into."""

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return len(self._tokens)

    @property
    def held(self) -> int:
        """Tokens of it that are computed."""
        return self._cache.length

    @property
    def unread(self) -> int:
        """Tokens of the text that are still to be computed."""
        return len(self._tokens) - self._cache.length

    def usable(self, tokens: ListOf[int], owner: str) -> int:
        """How many tokens of this text need not be computed here; its last one always must."""
        if owner != self._owner:
            return 0
        pairs = zip(tokens[:-1], self._tokens[: self._whole], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return shared - shared % self._micro_batch

    def begin(self, tokens: ListOf[int], owner: str) -> int:
        """A new text, to be read. Returns how many of its tokens are there already."""
        cached = self.usable(tokens, owner)
        self._tokens, self._owner = list(tokens), owner
        self._keep(cached)
        return cached

    def read(self, stop: Stop) -> None:
        """Compute the next micro-batch of what is unread. Raises as `Decoder.evaluate` does, and is as it was then."""
        begin = self.held
        end = min(begin - begin % self._micro_batch + self._micro_batch, len(self._tokens))
        self._compute(end, stop)
        if self._whole == begin and end - begin == self._micro_batch:
            self._whole = end

    def write(self, token: int, stop: Stop) -> None:
        """Compute one token more."""
        self._tokens.append(token)
        self._compute(len(self._tokens), stop)

    def shift(self, keep: int, token: int) -> None:
        """Forget the older half of what follows the first `keep` tokens, add `token`, and leave the rest to be read.

        Keys know the place that they were computed for: all that moves to another one is computed anew.
        """
        keep = min(keep, len(self._tokens) - 1)
        dropped = max(1, (len(self._tokens) - keep) // 2)
        self._tokens = [*self._tokens[:keep], *self._tokens[keep + dropped :], token]
        self._keep(min(self._whole, keep - keep % self._micro_batch))

    def _keep(self, count: int) -> None:
        self._cache = self._cache.cut(count) if count else self._decoder.empty
        self._whole = count

    def _compute(self, end: int, stop: Stop) -> None:
        self.logits, self._cache = self._decoder.evaluate(self._tokens[self.held : end], self._cache, stop)
