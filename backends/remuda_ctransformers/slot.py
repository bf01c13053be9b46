"""A slot: a context of the library and its text, read in micro-batches, and used again where the next one begins alike.

A token's numbers depend a little on the micro-batch that it was computed in. So that a text says the same whatever was
there before it, only whole micro-batches are used again: those of prompts, which always begin at the same places. What
was generated, a token at a time, is computed anew when it comes back as a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from .native import Native

__all__ = ["Slot"]


class Slot:
    """Holds the first `held` tokens of one text. `micro_batch` is how many tokens are computed at a time."""

    def __init__(self, native: Native, *, micro_batch: int, threads: int) -> None:
        self.native = native
        self._micro_batch, self._threads = micro_batch, threads
        self._tokens: list[int] = []
        self._held = 0
        self._whole = 0
        """So many of the held tokens were computed in whole micro-batches."""
        self._owner = ""

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return len(self._tokens)

    @property
    def held(self) -> int:
        """Tokens of it that are computed."""
        return self._held

    @property
    def unread(self) -> int:
        """Tokens of the text that are still to be computed."""
        return len(self._tokens) - self._held

    def usable(self, tokens: ListOf[int], owner: str) -> int:
        """How many tokens of this text need not be computed here; its last one always does."""
        if owner != self._owner:
            return 0
        pairs = zip(tokens[:-1], self._tokens[: self._whole], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return shared - shared % self._micro_batch

    def begin(self, tokens: ListOf[int], owner: str) -> int:
        """A new text, to be read. Returns how many of its tokens are there already."""
        cached = self.usable(tokens, owner)
        self._tokens, self._owner = list(tokens), owner
        self._held = self._whole = cached
        return cached

    def read(self) -> bool:
        """Compute the next micro-batch of what is unread. False if the library failed."""
        end = min(self._held - self._held % self._micro_batch + self._micro_batch, len(self._tokens))
        if not self._compute(end):
            return False
        if self._whole == self._held and end - self._held == self._micro_batch:
            self._whole = end
        self._held = end
        return True

    def write(self, token: int) -> bool:
        """Compute one token more. False if the library failed."""
        self._tokens.append(token)
        if not self._compute(len(self._tokens)):
            return False
        self._held = len(self._tokens)
        return True

    def shift(self, keep: int, token: int) -> None:
        """Forget the older half of what follows the first `keep` tokens, add `token`, and leave the rest to be read.

        The library cannot move what it has computed: all that follows the kept tokens is computed anew.
        """
        keep = min(keep, len(self._tokens) - 1)
        dropped = max(1, (len(self._tokens) - keep) // 2)
        self._tokens = [*self._tokens[:keep], *self._tokens[keep + dropped :], token]
        self._held = self._whole = min(self._whole, keep - keep % self._micro_batch)

    def logits(self) -> NDArray[np.float32]:
        """Those after the last token that was computed, in place, to be changed."""
        return self.native.logits()

    def _compute(self, end: int) -> bool:
        if self.native.evaluate(self._tokens[self._held : end], self._held, self._threads):
            return True
        self._held = self._whole = 0
        return False
