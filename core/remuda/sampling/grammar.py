"""Grammars as `llguidance` understands them: the only module that names it.

A `Matcher` knows the model's tokens and, after them, one more for each byte. The model never generates those, but
through them a text can be taken byte by byte, and the grammar be asked which byte may come next.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from ..errors import BadRequest
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["SPACE", "GrammarFailed", "Grammars", "Kinds", "Matcher"]

SPACE = b" \t\r\n"

_SPECIAL = b"\xff"
"""What `llguidance` wants before the text of a token that is no text; the byte is in no UTF-8 text."""
_REFUSED = "satisfy the grammar"
"""What it says of a token that is not allowed; all else that it says are limits that it keeps."""
_LONGEST = 300
"""Characters of a foreign message that are passed on."""


class GrammarFailed(Exception):
    """The text cannot go on under its grammar. `status` 400 blames the grammar, 500 us."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kinds(Struct, frozen=True):
    """Tokens of a vocabulary that are something apart: arrays of their ids."""

    ends: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those that end a text."""
    blanks: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those that are white space and nothing else."""
    spaced: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those that begin with white space and are also there without it."""
    bare: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """What each of `spaced` is without it."""


class Grammars:
    """Makes matchers for one vocabulary. Any thread may use it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self.kinds = Kinds()
        """Known once a matcher was made."""

    def matcher(self, grammar: str) -> Matcher:
        """At the beginning of `grammar`. Raises `BadRequest` that says why a grammar cannot be used.

        The first call also makes a tree of the vocabulary: 0.2 s for 49,000 tokens.
        """
        from llguidance import LLMatcher, LLParserLimits

        with self._lock:
            tokenizer = self._tokenizer = self._tokenizer or self._open()
        limits = LLParserLimits(verbose_errors=False)
        native = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
        if native.is_error():
            raise BadRequest(f"the format cannot be used: {_short(native.get_error())}")
        return Matcher(native, self._vocabulary.size, tokenizer.vocab_size)

    def _open(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        vocabulary = self._vocabulary
        tokens = [self._token(token) for token in range(vocabulary.size)]
        ends = vocabulary.ends()
        self.kinds = _kinds(tokens, ends)
        tokens += [bytes([byte]) for byte in range(0xFF)] + [b""]
        speller = _Speller(vocabulary, tokens)
        speller.eos_token_id = ends[0] if ends else None
        tokenizer = LLTokenizer(TokenizerWrapper(speller), eos_token=ends or None)
        speller.tree = tokenizer
        tokens.clear()  # copied by now, and held on to by the wrapper
        return tokenizer

    def _token(self, token: int) -> bytes:
        data = self._vocabulary.spelled(token)
        if self._vocabulary.is_control(token):
            return _SPECIAL + (data or b"%d" % token)
        return b"" if data.startswith(_SPECIAL) else data


def _kinds(tokens: list[bytes], ends: list[int]) -> Kinds:
    numbers = {data: token for token, data in enumerate(tokens)}
    spaced = [(token, data.lstrip(SPACE)) for token, data in enumerate(tokens) if data[:1] and data[0] in SPACE]
    pairs = [(token, numbers[bare]) for token, bare in spaced if bare and bare in numbers]
    return Kinds(
        ends=np.array(ends, np.intp),
        blanks=np.array([token for token, bare in spaced if not bare], np.intp),
        spaced=np.array([token for token, _ in pairs], np.intp),
        bare=np.array([bare for _, bare in pairs], np.intp),
    )


class _Speller:
    """The tokenizer that `llguidance` asks how the model itself would write a text that the grammar forces.

    Whatever the vocabulary does, the answer spells the text exactly: masks and the taking of tokens would contradict
    each other otherwise. Some vocabularies put a space before every text, and after every token of a user's own.
    """

    bos_token_id = None
    eos_token_id: int | None = None
    special_token_ids: tuple[int, ...] = ()
    tree: LLTokenizer | None = None

    def __init__(self, vocabulary: Vocabulary, tokens: list[bytes]) -> None:
        self._vocabulary = vocabulary
        self.tokens = tokens

    def __call__(self, data: bytes) -> list[int]:
        tokens = self._vocabulary.split(data)
        if self.tree is None or self.tree.decode_bytes(tokens) == data:
            return tokens
        guarded = self._vocabulary.split(b"\n" + data)
        for start in range(1, len(guarded)):
            if self.tree.decode_bytes(guarded[start:]) == data:
                return guarded[start:]
        return self.tree.greedy_tokenize(data.decode("utf-8", "replace"))


class Matcher:
    """A place in a grammar. Used by one thread at a time."""

    def __init__(self, native: LLMatcher, size: int, width: int) -> None:
        self._native = native
        self._size, self._width = size, width
        self._words = np.zeros((width + 31) // 32, np.uint32)
        self._bits = self._words.view(np.uint8)
        self._address: int = self._words.ctypes.data

    def copy(self) -> Matcher:
        return Matcher(self._native.deep_copy(), self._size, self._width)

    @property
    def accepts(self) -> bool:
        """Whether what was taken matches the grammar."""
        return self._native.is_accepting()

    @property
    def ended(self) -> bool:
        """Whether it matches, and nothing longer would."""
        return self._native.is_stopped()

    def forbidden(self) -> NDArray[np.bool_]:
        """For each token whether it may not come next. Those that end the text may exactly where it matches."""
        return self._mask()[: self._size]

    def allowed_bytes(self) -> list[int]:
        """The bytes that may come next, where none is `forced`. A place that needs a special token allows none."""
        return np.flatnonzero(~self._mask()[self._size : self._size + 256]).tolist()

    def forced(self) -> bytes:
        """The bytes that have to come next, as far as there is no choice and they are text."""
        return self._native.compute_ff_bytes().partition(_SPECIAL)[0]

    def could_take(self, token: int) -> bool:
        return self._native.validate_tokens([token]) == 1

    def could_take_bytes(self, data: bytes) -> bool:
        return not data or self._native.validate_tokens(self._as_tokens(data)) == len(data)

    def take(self, token: int) -> None:
        """Go past an allowed token."""
        self._native.consume_token(token)
        self._check()

    def take_bytes(self, data: bytes) -> None:
        """Go past a text that is allowed."""
        self._native.consume_tokens(self._as_tokens(data))
        self._check()

    def give_back(self, count: int) -> None:
        """Undo the taking of the last `count` bytes, taken as bytes. Cheaper than a copy, which learns all anew."""
        self._native.rollback(count)
        self._check()

    def _as_tokens(self, data: bytes) -> list[int]:
        return [self._size + byte for byte in data]

    def _mask(self) -> NDArray[Any]:
        self._native.unsafe_compute_mask_ptr(self._address, self._words.nbytes)
        self._check()
        # Turned round here, where they are bits: it takes a tenth of the time.
        np.invert(self._words, out=self._words)
        return np.unpackbits(self._bits, bitorder="little").view(np.bool_)

    def _check(self) -> None:
        if self._native.is_error():
            reason = _short(self._native.get_error())
            if _REFUSED in reason:
                raise GrammarFailed(500, f"the text could not follow its format: {reason}")
            raise GrammarFailed(400, f"the format is too complex to be followed: {reason}")


def _short(message: str) -> str:
    return " ".join(message.replace("<non-verbose/>", "").split())[:_LONGEST]
