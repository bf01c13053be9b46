"""What a draft model guesses of one sequence, and what it may cost to find out whether that is any good.

Before its first guess a draft model has to read the text, which costs as much as many guesses, and the answer may be a
short one or the two models may never agree. So what is spent without a draft being decoded is bounded by a share of the
time that the text took so far. That share is the trust in the model, of all texts together: each new text and each
shadow draft lowers it by half, each draft that is really decoded doubles it. A model that does not pay soon costs next
to nothing, and one that does is ready early.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence as ListOf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..sizes import DRAFT_STRETCH
from ..slots import Tokens
from .drafting import Source
from .model import DraftModel

__all__ = ["ModelSource"]

_LEAST_TRUST: Final = 1 / 32


class ModelSource(Source):
    """Drafts of one sequence by a `DraftModel`. Where the text outgrows the model's room, it goes on from its end."""

    every = 16

    def __init__(
        self,
        model: DraftModel,
        owner: str,
        threads: Callable[[], int],
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """`owner`: as `Sequence.owner`. `threads`: how many to use now. `clock` gives nanoseconds."""
        self._model, self._owner, self._threads, self._clock = model, owner, threads, clock
        self.most = model.most
        self._tokens = np.empty(model.room, np.int32)
        self._end = 0
        self._missing = 0
        """Tokens that the model had to read for a draft, when it was last asked."""
        self._began, self._spent = clock(), 0
        self._doubt()

    def extend(self, tokens: ListOf[int] | NDArray[np.int32]) -> None:
        most = self._model.room - self.most
        added = np.asarray(tokens, np.int32)[-most:]
        if self._end + len(added) > most:
            kept = min(self._model.room // 2, most - len(added))
            self._tokens[:kept] = self._tokens[self._end - kept : self._end]
            self._end = kept
        # A place of an image is no token, and padding may be none here. What stands there makes guesses worse at most.
        np.clip(added, 0, self._model.vocabulary - 1, out=self._tokens[self._end : self._end + len(added)])
        self._end += len(added)

    def push(self, token: int) -> None:
        self.extend([token])

    def follow(self) -> bool:
        self._model.serve(self._owner, self._threads())
        self._missing = self._model.missing(self._text)
        if self._missing <= DRAFT_STRETCH:
            return True
        if self._has_time():
            began = self._clock()
            self._model.read(self._text)
            self._spent += self._clock() - began
        return False

    def shadow(self) -> list[int] | None:
        if not self._has_time():
            return None
        began = self._clock()
        guesses = self._model.guess(self._text, self.most)
        self._spent += self._clock() - began
        self._doubt()
        return guesses

    def draft(self, most: int) -> list[int]:
        self._model.trust = min(2 * self._model.trust, 1.0)
        return self._model.guess(self._text, min(most, self.most))

    def cost(self, count: int) -> float:
        return self._model.cost(self._missing) + (count - 1) * self._model.cost(1)

    @property
    def _text(self) -> Tokens:
        return self._tokens[: self._end]

    def _has_time(self) -> bool:
        # What the work would take is left out: it is not known well before there was some.
        return self._spent < self._model.trust * (self._clock() - self._began)

    def _doubt(self) -> None:
        self._model.trust = max(self._model.trust / 2, _LEAST_TRUST)
