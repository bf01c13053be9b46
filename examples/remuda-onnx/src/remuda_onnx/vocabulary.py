"""Text to tokens and back: Hugging Face's tokenizer splits, `words` says what tokens stand for.

The library's own way back to text is not used: it gives characters, and a token may be a part of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from tokenizers import Tokenizer

from remuda.errors import LoadFailed
from remuda.sampling import Vocabulary, encoded

from .words import Words, read_words

__all__ = ["OnnxVocabulary"]


class OnnxVocabulary(Vocabulary):
    """Of a loaded model. `tokenize` and `split` may be called from any thread."""

    def __init__(self, data: bytes, ends: Iterable[int], eos_token: str = "") -> None:
        """`data` is a `tokenizer.json`; `ends`, and what `eos_token` is the name of, end a text.

        Raises `LoadFailed`.
        """
        self._words: Words = read_words(data)
        self._data = data
        self._tokenizer = _tokenizer(data)
        self.size = len(self._words.texts)
        named = self._words.ids.get(eos_token)
        wanted = {*ends} | ({named} if named is not None else set[int]())
        self._ends = sorted(token for token in wanted if 0 <= token < self.size)
        self._before = self._beginning()

    def shrink(self, size: int) -> None:
        """The model knows no more than `size` tokens: some vocabularies name further ones."""
        self.size = min(self.size, size)
        self._ends = [token for token in self._ends if token < self.size]

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """Tokens of `text`; special tokens written out in it are recognised.

        With `bos`, the beginning of a text comes first, if the model wants one and `text` does not begin with it.
        Raises `BadRequest` for lone surrogates.
        """
        encoded(text)
        found = self._tokenizer.encode(text, add_special_tokens=False).ids
        before = self._before
        return [*before, *found] if bos and found[: len(before)] != before else found

    def split(self, data: bytes) -> list[int]:
        """Tokens of a text that has no special tokens; none for what is not UTF-8."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return []
        return self._plain.encode(text, add_special_tokens=False).ids

    def text(self, token: int) -> bytes:
        return b"" if self.is_control(token) else self._words.texts[token]

    def spelled(self, token: int) -> bytes:
        return self._words.texts[token]

    def is_control(self, token: int) -> bool:
        return token in self._words.control or token in self._ends

    def ends(self) -> list[int]:
        return self._ends

    @cached_property
    def _plain(self) -> Tokenizer:
        """A second one, for that is a property of the whole tokenizer. Only formats need it."""
        plain = _tokenizer(self._data)
        plain.encode_special_tokens = True
        return plain

    def _beginning(self) -> list[int]:
        """The special tokens that the model wants before a text: what the library puts before this one."""
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole = self._tokenizer.encode("a", add_special_tokens=True).ids
        starts = (start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)
        return whole[: next(starts, 0)]


def _tokenizer(data: bytes) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises nothing narrower
        raise LoadFailed(f"tokenizer.json cannot be used ({error}): download it again") from None
    # Settings of training, which some files still have.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
