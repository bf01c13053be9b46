"""Drafts from the text itself: what followed when its last tokens stood there before.

A model that quotes, edits, fills in a form or goes round in circles repeats what its context holds already. So the
last tokens are looked for further up, and what came after them there is the guess at what comes now.

The tokens lie in one array, and there is no index: numpy finds all places of a token among 6,000 in 3 microseconds,
and a draft takes 5 to 25. A dictionary of all runs of tokens would have to be built for every prompt and be many times
as large, and most texts repeat nothing.
"""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from remuda.engine import Engine

from .drafting import Source

__all__ = ["Lookup"]

_LONGEST: Final = 8
"""So many of the last tokens are compared. With fewer, the copy of a long passage slips off to another one where the
same few words stand: a document copied at 1.53 times the speed with 4 was at 1.70 with 8, and at 1.71 with 12."""
_SHORTEST: Final = 2
"""And so many must agree: a single one, a comma or an article, stands everywhere and foretells nothing."""
_LATEST: Final = 256
"""Places to be compared first. There are more where a token is very frequent, in a text that goes round in circles;
then one of the latest will do."""
_NOTHING: Final = -2
"""Stands before the text, so that looking back from its first tokens finds what no token is like."""


class Lookup(Source):
    """Remembers up to `room` tokens of a text; where it is longer, the newer ones, at least half as many."""

    most = 16

    def __init__(self, room: int) -> None:
        self._tokens = np.empty(_LONGEST + max(room, 2), np.int32)
        self._tokens[:_LONGEST] = _NOTHING
        self._end = _LONGEST

    def extend(self, tokens: ListOf[int] | NDArray[np.int32]) -> None:
        added = np.asarray(tokens, np.int32)[-(len(self._tokens) - _LONGEST) :]
        self._make_room(len(added))
        self._tokens[self._end : self._end + len(added)] = added
        self._end += len(added)

    def push(self, token: int) -> None:
        if self._end == len(self._tokens):
            self._make_room(1)
        self._tokens[self._end] = token
        self._end += 1

    def draft(self, most: int) -> list[int]:
        start = self._find()
        if start is None or most <= 0:
            return []
        draft: list[int] = self._tokens[start : min(start + most, self._end)].tolist()
        while len(draft) < most:  # it reaches the end of the text, and goes on in itself
            draft += draft
        del draft[most:]
        # The places of an image hold no token that could be decoded.
        return draft[: draft.index(Engine.MEDIA)] if Engine.MEDIA in draft else draft

    def _find(self) -> int | None:
        """Where the text goes on after the latest of the longest matches."""
        if self._end == _LONGEST:
            return None
        tokens = self._tokens[: self._end]
        ends = np.flatnonzero(tokens[:-1] == tokens[-1])
        length, end = _match(tokens, ends[-_LATEST:])
        if length < _LONGEST and len(ends) > _LATEST:
            length, end = _match(tokens, ends)
        return end + 1 if length >= _SHORTEST else None

    def _make_room(self, count: int) -> None:
        room = len(self._tokens) - _LONGEST
        if self._end + count > len(self._tokens):
            kept = min(room // 2, room - count)
            self._tokens[_LONGEST : _LONGEST + kept] = self._tokens[self._end - kept : self._end]
            self._end = _LONGEST + kept


def _match(tokens: NDArray[np.int32], ends: NDArray[np.intp]) -> tuple[int, int]:
    """The most tokens before one of `ends`, it included, that are also the last ones; and the latest such end.

    The token at each of `ends` is the last one's equal.
    """
    if not len(ends):
        return 0, 0
    for length in range(1, _LONGEST):
        longer = ends[tokens[ends - length] == tokens[-1 - length]]
        if not len(longer):
            return length, int(ends[-1])
        ends = longer
    return _LONGEST, int(ends[-1])
