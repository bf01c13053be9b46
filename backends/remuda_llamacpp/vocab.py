"""Text to tokens and back, byte for byte."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence as ListOf

from remuda.errors import BadRequest

from . import _native

__all__ = ["Vocabulary"]

_PIECE = 128


class Vocabulary:
    """The vocabulary of a loaded model. Pieces are looked up once and kept.

    `tokenize`, `split`, `spelled` and `is_control` may be called from any thread, the others from one.
    """

    def __init__(self, handle: _native.Vocab) -> None:
        self.handle = handle
        self.size = _native.vocab_size(handle)
        self.bos = _native.vocab_bos(handle)
        self._pieces: dict[int, bytes | None] = {}
        self._buffer = ctypes.create_string_buffer(_PIECE)

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """Tokens of `text`; special tokens written out in it are recognised.

        `bos` asks for the special tokens that the model wants round a text; a BOS that `text` begins with counts
        as the one wanted. Raises `BadRequest` for lone surrogates.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise BadRequest("the prompt holds a lone surrogate; send valid Unicode") from None
        found = self._tokens(data, special=bos, parse=True)
        if bos and found[:2] == [self.bos, self.bos] and _native.vocab_adds_bos(self.handle):
            del found[0]
        return found

    def wrapping(self) -> tuple[list[int], list[int]]:
        """The special tokens that the model wants before a text and behind it."""
        bare, whole = (self._tokens(b"a", special=special, parse=True) for special in (False, True))
        starts = (start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)
        start = next(starts, len(whole))
        return whole[:start], whole[start + len(bare) :]

    def split(self, data: bytes) -> list[int]:
        """Tokens of a text that has no special tokens: what looks like one is spelled like any other word.

        Some vocabularies put a space before the text, or rewrite it: `spelled` need not give `data` again.
        """
        return self._tokens(data, special=False, parse=False)

    def _tokens(self, data: bytes, *, special: bool, parse: bool) -> list[int]:
        # Few texts have more tokens than bytes; those that do say how many they need by a negative count.
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = _native.tokenize(self.handle, data, len(data), tokens, room, special, parse)
            if count >= 0:
                return tokens[:count]
            if -count <= room:
                raise BadRequest("the prompt is too long to be tokenized")
            room = -count

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        """The pieces of `tokens` put together. Raises `BadRequest` for ids that are not in the vocabulary.

        llama.cpp's own `llama_detokenize` also drops a leading space and tidies punctuation for some models, so
        that its text would differ from the one streamed piece by piece.
        """
        for token in tokens:
            if not 0 <= token < self.size:
                raise BadRequest(f"token {token} is not in the vocabulary: ids run from 0 to {self.size - 1}")
        return b"".join(self._bytes(token) for token in tokens)

    def piece(self, token: int) -> bytes | None:
        """The bytes of a generated token, empty for a control token; None if it ends the text."""
        try:
            return self._pieces[token]
        except KeyError:
            data = None if _native.vocab_is_eog(self.handle, token) else self._bytes(token)
            self._pieces[token] = data
            return data

    def visible(self, texts: Iterable[str]) -> dict[int, bytes]:
        """The control tokens that `texts` write out, each with its text; texts that are not one token are left out."""
        found: dict[int, bytes] = {}
        for text in texts:
            tokens = self.tokenize(text, bos=False)
            if len(tokens) == 1 and self.is_control(tokens[0]):
                found[tokens[0]] = self.spelled(tokens[0])
        return found

    def is_control(self, token: int) -> bool:
        """Whether the token is no text: a control token, or one that ends the text."""
        attributes = _native.vocab_attributes(self.handle, token)
        return bool(attributes & _native.CONTROL) or _native.vocab_is_eog(self.handle, token)

    def ends(self) -> list[int]:
        """The tokens that end a text."""
        return [token for token in range(self.size) if _native.vocab_is_eog(self.handle, token)]

    def spelled(self, token: int) -> bytes:
        """The bytes of a token; for a control token the text that it is written as."""
        return self._read(token, ctypes.create_string_buffer(_PIECE), special=True)

    def _bytes(self, token: int) -> bytes:
        return self._read(token, self._buffer, special=False)

    def _read(self, token: int, buffer: ctypes.Array[ctypes.c_char], *, special: bool) -> bytes:
        length = _native.piece(self.handle, token, buffer, len(buffer), 0, special)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = _native.piece(self.handle, token, buffer, len(buffer), 0, special)
        return buffer.raw[:length]

    def suppressed(self) -> list[int]:
        """Tokens that the model's file says must never be generated."""
        count = ctypes.c_int32(0)
        tokens = _native.vocab_suppressed(self.handle, ctypes.byref(count))
        return [int(tokens[index]) for index in range(count.value)]
