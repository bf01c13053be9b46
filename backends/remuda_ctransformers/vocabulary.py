"""Text to tokens and back.

What tokens are written as comes from the file, not from the library: that tells no zeros, and shows special tokens as
if they were text. Into tokens the library splits, in pieces where it must be: for most types of models it finds words
by a regular expression, which needs a stack as deep as a word is long, and looks at every part of each word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from remuda.sampling import Vocabulary, encoded

from .native import Native
from .tokens import Tokens

__all__ = ["NativeVocabulary"]


class NativeVocabulary(Vocabulary):
    """Of a loaded model. `tokenize` and `split` may be called from any thread."""

    def __init__(self, native: Native, tokens: Tokens) -> None:
        self.size = len(tokens.texts)
        self._native, self._tokens = native, tokens
        self._begin = native.beginning() if tokens.begins else None
        self._ends = [token for token in sorted(tokens.control) if token in tokens.ends or native.ends(token)]
        self._special = _alternatives(tokens)
        self._zero = [tokens.texts.index(b"\0")] if b"\0" in tokens.texts else []

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """Tokens of `text`; special tokens written out in it are recognised.

        With `bos`, the beginning of a text comes first, if the model wants one and `text` does not begin with it.
        Raises `BadRequest` for lone surrogates.
        """
        data = encoded(text)
        found: list[int] = []
        for part in self._special.split(data) if self._special else [data]:
            token = self._tokens.special.get(part)
            found += self.split(part) if token is None else [token]
        if bos and self._begin is not None and found[:1] != [self._begin]:
            found.insert(0, self._begin)
        return found

    def split(self, data: bytes) -> list[int]:
        """Tokens of a text that has no special tokens; none for what is not UTF-8."""
        try:
            data.decode()
        except UnicodeDecodeError:
            return []
        first, *others = data.split(b"\0")  # which the library would take for the end
        tokens = self._split(first)
        for part in others:
            tokens += self._zero
            tokens += self._behind(part)
        return tokens

    def _split(self, data: bytes) -> list[int]:
        pieces = _pieces(data, self._tokens.piece)
        return [token for piece in pieces for token in self._native.tokenize(piece)]

    def _behind(self, data: bytes) -> list[int]:
        """Without the space that some vocabularies put before a text."""
        tokens, before = self._split(b"\n" + data), b""
        for place, token in enumerate(tokens, 1):
            before += self._tokens.texts[token]
            if before.strip(b" ") == b"\n":
                return tokens[place:]
        return self._split(data)

    def text(self, token: int) -> bytes:
        return b"" if token in self._tokens.control else self._tokens.texts[token]

    def spelled(self, token: int) -> bytes:
        return self._tokens.texts[token]

    def is_control(self, token: int) -> bool:
        return token in self._tokens.control

    def ends(self) -> list[int]:
        return self._ends


def _alternatives(tokens: Tokens) -> re.Pattern[bytes] | None:
    """Finds special tokens in a text, the longest of those that begin at a place."""
    texts = sorted(tokens.special, key=len, reverse=True)
    return re.compile(b"(" + b"|".join(re.escape(text) for text in texts) + b")") if texts else None


def _pieces(data: bytes, most: int) -> Iterator[bytes]:
    """`data` in pieces of at most `most` bytes; in one where that is 0.

    It is cut before single spaces, where words begin, or else where a character ends.
    """
    begin = 0
    while 0 < most < len(data) - begin:
        end = _space(data, begin + 1, begin + most) or _character(data, begin + most)
        yield data[begin:end]
        begin = end
    if begin < len(data):
        yield data[begin:]


def _space(data: bytes, begin: int, end: int) -> int:
    """The last place between the two of a space alone between two words; 0 if there is none."""
    while (place := data.rfind(b" ", begin, end)) > 0:
        if not data[place - 1 : place].isspace() and not data[place + 1 : place + 2].isspace():
            return place
        end = place
    return 0


def _character(data: bytes, end: int) -> int:
    """`end`, or where the character begins that it lies in."""
    while data[end] & 0xC0 == 0x80:
        end -= 1
    return end
