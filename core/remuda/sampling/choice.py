"""What a sequence says next: from the logits of its place to a piece, through its constraint and a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ..engine import Piece, Sequence
from .grammar import GrammarFailed, Grammars
from .guide import Compiled, Guide, compile_constraint
from .logprobs import Logprobs
from .vocabulary import Vocabulary

__all__ = ["Choice"]


class Choice:
    """Chooses for one sequence. `close` frees its guide; after that it must not be used."""

    def __init__(
        self, sequence: Sequence, guide: Guide | None, vocabulary: Vocabulary, visible: dict[int, bytes]
    ) -> None:
        """`guide` is at the beginning of the sequence's constraint; None without one.

        `visible` are the control tokens that leave their text.
        """
        self._id, self._logprobs = sequence.id, sequence.logprobs
        self._guide, self._vocabulary, self._visible = guide, vocabulary, visible

    @classmethod
    def of(
        cls, sequence: Sequence, vocabulary: Vocabulary, grammars: Grammars, *, visible: Iterable[str] = ()
    ) -> Choice:
        """For `Engine.submit`. `visible` are control tokens to be written out beside those of the sequence.

        Raises `BadRequest` for a constraint that cannot be used.
        """
        written, guide = vocabulary.visible((*sequence.visible, *visible)), None
        if sequence.constraint is not None:
            compiled: Compiled = sequence.compiled or compile_constraint(sequence.constraint, grammars)
            guide = Guide(compiled, vocabulary, written)
        return cls(sequence, guide, vocabulary, written)

    @property
    def ended(self) -> bool:
        """Whether the text matches its constraint, and nothing longer would."""
        return self._guide is not None and self._guide.ended

    def piece(self, logits: NDArray[np.float32], sample: Callable[[], int]) -> Piece | None:
        """The next piece; None if the text ends. Raises `GrammarFailed`.

        `logits` has one number for each token of the vocabulary, and is used up: masks are written into it. `sample`
        draws a token by what is in it then, and is called again after a token that turned out to be impossible.
        """
        told = None if self._logprobs is None else Logprobs(logits)
        token = sample() if self._guide is None else _guided(self._guide, logits, sample)
        data = self._vocabulary.piece(token) if token is not None else None
        if token is None or data is None:
            return None
        logprob = told.of(token, self._logprobs or 0, self._vocabulary) if told is not None else None
        return Piece(self._id, token, self._visible.get(token, data), logprob)

    def completion(self) -> bytes:
        """What the text lacks to match its constraint."""
        return self._guide.completion() if self._guide is not None else b""

    def close(self) -> None:
        """Free the guide."""
        self._guide = None


def _guided(guide: Guide, logits: NDArray[np.float32], sample: Callable[[], int]) -> int | None:
    guide.mask(logits)
    while True:
        token = sample()
        if logits[token] == -np.inf:
            # All that is allowed is made impossible by the sampler itself, or nothing is allowed.
            token = int(np.argmax(logits))
            if logits[token] == -np.inf:
                if guide.accepts:
                    return None
                raise GrammarFailed(500, "this model has no token that the format could go on with")
        if guide.take(token):
            return token
        logits[token] = -np.inf
