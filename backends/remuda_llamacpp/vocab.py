"""Text to tokens and back, byte for byte."""

from __future__ import annotations

import ctypes

from remuda.errors import BadRequest
from remuda.sampling import Vocabulary, encoded

from . import _native

__all__ = ["LlamaVocabulary"]

_PIECE = 128


class LlamaVocabulary(Vocabulary):
    """The vocabulary of a model that llama.cpp has loaded."""

    def __init__(self, handle: _native.Vocab) -> None:
        self.handle = handle
        self.size = _native.vocab_size(handle)
        self.bos = _native.vocab_bos(handle)
        self._buffer = ctypes.create_string_buffer(_PIECE)

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        found = self._tokens(encoded(text), special=bos, parse=True)
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
        return self._tokens(data, special=False, parse=False)

    def text(self, token: int) -> bytes:
        """As `Vocabulary.text`.

        llama.cpp's own `llama_detokenize` also drops a leading space and tidies punctuation for some models, so
        that what it makes of many tokens would differ from the text streamed piece by piece.
        """
        return self._read(token, self._buffer, special=False)

    def spelled(self, token: int) -> bytes:
        return self._read(token, ctypes.create_string_buffer(_PIECE), special=True)

    def is_control(self, token: int) -> bool:
        attributes = _native.vocab_attributes(self.handle, token)
        return bool(attributes & _native.CONTROL) or self.is_end(token)

    def is_end(self, token: int) -> bool:
        return _native.vocab_is_eog(self.handle, token)

    def ends(self) -> list[int]:
        return [token for token in range(self.size) if self.is_end(token)]

    def suppressed(self) -> list[int]:
        """Tokens that the model's file says must never be generated."""
        count = ctypes.c_int32(0)
        tokens = _native.vocab_suppressed(self.handle, ctypes.byref(count))
        return [int(tokens[index]) for index in range(count.value)]

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

    def _read(self, token: int, buffer: ctypes.Array[ctypes.c_char], *, special: bool) -> bytes:
        length = _native.piece(self.handle, token, buffer, len(buffer), 0, special)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = _native.piece(self.handle, token, buffer, len(buffer), 0, special)
        return buffer.raw[:length]
