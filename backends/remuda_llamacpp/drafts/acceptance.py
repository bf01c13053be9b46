"""How likely a draft is to be what the model says, going by how drafts did in this text so far.

Texts repeat themselves in stretches: in a quotation hit follows hit until a word of it is changed. So what best tells
the next one is how long the present run of hits, or of misses, is already. Hits are counted apart for runs of 1, 2-3,
4-7, 8-15 and more tokens before them. Where stretches of both kinds alternate, chances come out good within a run of
hits and bad within one of misses, and where hits come at random, the same everywhere. And when a text ceases to repeat
itself, the growing run of misses says so within a few tokens, whatever there was before.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Acceptance"]

_CLASSES: Final = 5
_MEMORY: Final = 128
"""Tokens that each class looks back at."""
_PRIOR: Final = 3
"""A class begins as if it had seen so many tokens do as in the class of shorter runs."""


class Acceptance:
    """Of one sequence. Says nothing good of drafts before it has seen some succeed."""

    def __init__(self) -> None:
        self._after_hits = _Record()
        self._after_misses = _Record()
        self._run = 0
        """Hits in a row, or with a minus sign misses in a row."""

    def chances(self, count: int) -> list[float]:
        """For the first, second, ... token of a draft, the probability that the draft is right up to and with it.

        Falls from token to token. The sum is the number of tokens that may be expected to be accepted.
        """
        after_misses = self._after_misses.rates(0)
        after_hits = self._after_hits.rates(after_misses[0])
        run, chance = self._run, 1.0
        chances: list[float] = []
        for _ in range(count):
            chance *= after_hits[_class(run)] if run > 0 else after_misses[_class(-run)]
            chances.append(chance)
            run = max(run, 0) + 1
        return chances

    def note(self, hit: bool) -> None:
        """The next token was the one foretold, or another. Not to be told of tokens that nothing was foretold of."""
        if self._run > 0:
            self._after_hits.note(_class(self._run), hit)
        else:
            self._after_misses.note(_class(-self._run), hit)
        self._run = max(self._run, 0) + 1 if hit else min(self._run, 0) - 1


class _Record:
    """How many hits there were after runs of one kind, for each class of their lengths."""

    def __init__(self) -> None:
        self._hits = [0.0] * _CLASSES
        self._seen = [0.0] * _CLASSES

    def note(self, place: int, hit: bool) -> None:
        if self._seen[place] >= _MEMORY:
            self._hits[place] *= 1 - 1 / _MEMORY
            self._seen[place] -= 1
        self._hits[place] += hit
        self._seen[place] += 1

    def rates(self, prior: float) -> list[float]:
        """The share of hits in each class. `prior` stands for what came before the first one."""
        rates: list[float] = []
        for hits, seen in zip(self._hits, self._seen, strict=True):
            prior = (hits + _PRIOR * prior) / (seen + _PRIOR)
            rates.append(prior)
        return rates


def _class(run: int) -> int:
    """Which class a run of this length belongs to; one of 0 counts as one of 1."""
    return min(max(run, 1).bit_length(), _CLASSES) - 1
