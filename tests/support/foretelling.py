"""Guesses at a text that is known, some of them spoilt: in the place of what the text itself foretells."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence as ListOf

import numpy as np
from numpy.typing import NDArray
from tiny_memories import EOS

from remuda_llamacpp.drafts.drafting import Source

__all__ = ["Oracle"]


class Oracle(Source):
    """`text_of` gives what is to follow a prompt. Of the tokens that it says, the share `right` is right."""

    most = 16

    def __init__(self, text_of: Callable[[list[int]], list[int]], right: float) -> None:
        self._text_of, self._right = text_of, right
        self._pick = random.Random(5)
        self._text: list[int] | None = None
        self._held = 0

    def extend(self, tokens: ListOf[int] | NDArray[np.int32]) -> None:
        if self._text is None:  # the prompt comes first
            prompt = [int(token) for token in tokens]
            self._text = prompt + self._text_of(prompt)
        self._held += len(tokens)

    def push(self, token: int) -> None:
        self._held += 1

    def draft(self, most: int) -> list[int]:
        assert self._text is not None, "no prompt"
        draft = self._text[self._held : self._held + most]
        draft += [self._any() for _ in range(most - len(draft))]
        return [token if self._pick.random() < self._right else self._any() for token in draft]

    def _any(self) -> int:
        return self._pick.randrange(EOS + 1)
