"""A model's vocabulary, as those who choose its tokens need it: an engine writes the abstract methods.

A token has two forms in bytes, which differ for control tokens only. `text` is what the token adds to a text, nothing
for a control token; `spelled` is also how a control token is written out. Either may be a part of a UTF-8 character.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence as ListOf
from functools import cached_property

from ..errors import BadRequest

__all__ = ["Vocabulary", "encoded"]


class Vocabulary(ABC):
    """The vocabulary of a loaded model. Pieces are looked up once and kept.

    `text`, `piece` and `detokenize` are called from one thread, the others from any.
    """

    size: int
    """Token ids run from 0 to `size - 1`."""

    @abstractmethod
    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """Tokens of `text`; special tokens written out in it are recognised.

        `bos` asks for the special tokens that the model wants round a text; a BOS that `text` begins with counts
        as the one wanted. Raises `BadRequest` for lone surrogates.
        """

    @abstractmethod
    def split(self, data: bytes) -> list[int]:
        """Tokens of a text that has no special tokens: what looks like one is spelled like any other word.

        Some vocabularies put a space before the text, or rewrite it: `spelled` need not give `data` again.
        """

    @abstractmethod
    def text(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for a control token."""

    @abstractmethod
    def spelled(self, token: int) -> bytes:
        """The bytes of a token; for a control token the text that it is written as."""

    @abstractmethod
    def is_control(self, token: int) -> bool:
        """Whether the token is no text: a control token, or one that ends the text."""

    @abstractmethod
    def ends(self) -> list[int]:
        """The tokens that end a text."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends a text. To be written anew where one can be asked for without a list of all."""
        return token in self._kept_ends

    def piece(self, token: int) -> bytes | None:
        """The bytes of a generated token, empty for a control token; None if it ends the text."""
        try:
            return self._kept_pieces[token]
        except KeyError:
            data = None if self.is_end(token) else self.text(token)
            self._kept_pieces[token] = data
            return data

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        """The texts of `tokens` put together. Raises `BadRequest` for ids that are not in the vocabulary."""
        for token in tokens:
            if not 0 <= token < self.size:
                raise BadRequest(f"token {token} is not in the vocabulary: ids run from 0 to {self.size - 1}")
        return b"".join(self.text(token) for token in tokens)

    def visible(self, texts: Iterable[str]) -> dict[int, bytes]:
        """The control tokens that `texts` write out, each with its text; texts that are not one token are left out."""
        found: dict[int, bytes] = {}
        for text in texts:
            tokens = self.tokenize(text, bos=False)
            if len(tokens) == 1 and self.is_control(tokens[0]):
                found[tokens[0]] = self.spelled(tokens[0])
        return found

    # Made when they are needed, so that there is nothing to call in `__init__`.

    @cached_property
    def _kept_pieces(self) -> dict[int, bytes | None]:
        return {}

    @cached_property
    def _kept_ends(self) -> frozenset[int]:
        return frozenset(self.ends())


def encoded(text: str) -> bytes:
    """`text` in UTF-8. Raises `BadRequest` for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRequest("the prompt holds a lone surrogate; send valid Unicode") from None
