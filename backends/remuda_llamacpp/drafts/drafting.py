"""Speculative decoding of one sequence: guesses at its next tokens, and how good they are.

Rows of one sequence in one decode can take less time than as many decodes, so guesses that are mostly right make a
text faster. They never change it. The sampler chooses a token from each row as it always does, and the row behind
counts if its guess was just that token.

Whether guesses are right is known before anything is spent on them. A *shadow* draft is made and not decoded: what the
model then says, token by token, shows what the draft would have brought. So a step is the same whether drafts are
decoded or not:

    chances = [drafter.offer() for each sequence that is writing]
    counts = payoff.share(chances, cost)  # drafter.cost(count) is a part of it
    drafts = [drafter.propose(count) for each, with its count]
    # decode each one's next token and its draft behind it; sample row by row, up to the first that the draft missed
    drafter.push(token) for each token sampled
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as ListOf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .acceptance import Acceptance

__all__ = ["Drafter", "Drafters", "Source"]

_NOTHING: Final = -1
"""Stands for a token where a draft ended early."""
_LIKELY: Final = 0.5
"""A draft whose first token is so likely is taken without looking at those that cost more."""


class Source(ABC):
    """Where the drafts of one sequence come from. It is told the whole text: the prompt, then token by token."""

    most: int
    """The longest draft that is worth asking for."""
    every: int = 1
    """Steps from one shadow draft to the next, at least. 1 where a draft takes no time to speak of."""

    @abstractmethod
    def extend(self, tokens: ListOf[int] | NDArray[np.int32]) -> None:
        """These follow. `Engine.MEDIA` stands for each place of an image."""

    @abstractmethod
    def push(self, token: int) -> None:
        """This one follows."""

    @abstractmethod
    def draft(self, most: int) -> list[int]:
        """A guess at the next `most` tokens; fewer, or none, where there is nothing to go by."""

    def follow(self) -> bool:
        """Once in each step, before drafts: some of the work that keeping up takes. Whether a draft can be had."""
        return True

    def shadow(self) -> list[int] | None:
        """A draft of `most` tokens that only shows what drafts are worth; None where there is no time for it."""
        return self.draft(self.most)

    def cost(self, count: int) -> float:
        """Nanoseconds that a draft of `count` tokens takes, from 1 on."""
        return 0.0


class Drafter:
    """Drafts for one sequence. `push` it every token that the model says, from the first on."""

    def __init__(self, source: Source, acceptance: Acceptance | None = None) -> None:
        """`source` has been told the prompt. `acceptance`: how drafts from there did before, if that says something."""
        self._source = source
        self._acceptance = acceptance or Acceptance()
        self._left: list[int] = []
        """What the latest draft foretells from here on; nothing once it was wrong."""
        self._idle = source.every
        """Steps since it was made."""

    def offer(self) -> list[float]:
        """Once in each step: how likely each token of the draft that can be had now is to be accepted.

        Falls from token to token; empty if there is no draft. This is where shadow drafts are made.
        """
        source = self._source
        if not source.follow():
            return []
        self._idle += 1
        # A draft that was right so far is kept for a while: only so are its later tokens put to the test.
        if self._idle >= source.every and len(self._left) < (source.most + 1) // 2:
            shadow = source.shadow()
            if shadow is not None:
                self._take(shadow, source.most)
        made = source.every == 1 or _NOTHING in self._left
        return self._acceptance.chances(len(self._known(source.most)) if made else source.most)

    def propose(self, count: int) -> list[int]:
        """Up to `count` tokens, to be decoded behind the next one."""
        if self._lacks(count):
            self._take(self._source.draft(count), count)
        return self._known(count)

    def cost(self, count: int) -> float:
        """Nanoseconds that it takes to propose so many tokens."""
        return self._source.cost(count) if self._lacks(count) else 0.0

    def push(self, token: int) -> None:
        """The model said this, whether it was drafted or not."""
        if self._left:
            hit = self._left.pop(0) == token
            self._acceptance.note(hit)
            if not hit:
                self._left.clear()
        self._source.push(token)

    def _lacks(self, count: int) -> bool:
        """Whether another draft must be made for so many tokens."""
        return len(self._left) < count and _NOTHING not in self._left

    def _known(self, most: int) -> list[int]:
        return [token for token in self._left[:most] if token != _NOTHING]

    def _take(self, draft: list[int], most: int) -> None:
        """`most`: as many as it might have had."""
        self._left = draft
        if self._source.every > 1 and len(draft) < most:
            # Its tokens were offered before it was made. Those that it lacks then count as a miss.
            self._left.append(_NOTHING)
        self._idle = 0


class Drafters:
    """Several for one sequence, as one: in each step the first whose draft is likely, or else the likeliest."""

    def __init__(self, drafters: ListOf[Drafter]) -> None:
        """Those whose drafts cost least come first."""
        self._drafters = drafters
        self._chosen = drafters[0]

    def offer(self) -> list[float]:
        best: list[float] = []
        for drafter in self._drafters:
            chances = drafter.offer()
            if drafter is self._drafters[0] or chances[:1] > best[:1]:
                best, self._chosen = chances, drafter
            if best and best[0] >= _LIKELY:
                break
        return best

    def propose(self, count: int) -> list[int]:
        return self._chosen.propose(count)

    def cost(self, count: int) -> float:
        return self._chosen.cost(count)

    def push(self, token: int) -> None:
        for drafter in self._drafters:
            drafter.push(token)
