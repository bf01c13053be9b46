"""A vocabulary without a model: every byte, some words, and control tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence as ListOf

from remuda.sampling import Vocabulary

__all__ = ["CONTROL", "END", "PlainVocabulary"]

END = "<|end|>"
CONTROL = ("<|begin|>", END, "<tag_open>", "<tag_close>")
_WORDS = [
    *"the and is of to in no yes true false null name value item tag think anything answer".split(),
    *(" the| and| is| of| to| in| no| yes| 1| x| {| [| }|  |\n|\n\n| \n|\t".split("|")),
    *('{" [{ }, }} "] ], ": ", "} {} [] "" >< </ > < ></ >{ >\n >\n\n .txt .com 00 12 123 2024 -01'.split(" ")),
    *("é ä 日 日本 ab abc xy xyz foo Hm Ans wer: ing er on".split()),
]


class PlainVocabulary(Vocabulary):
    """A text's next token is the longest that fits. The first control token comes before it where one is asked for."""

    def __init__(self, words: ListOf[str] = _WORDS, control: ListOf[str] = CONTROL, end: str | None = END) -> None:
        plain = dict.fromkeys([*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words if word)])
        self._plain = list(plain)
        self._control = [tag.encode() for tag in control]
        self._end = len(plain) + control.index(end) if end else None
        self.size = len(self._plain) + len(control)
        self._numbers = {data: token for token, data in enumerate(self._plain)}
        self._longest = max(map(len, self._plain))

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        tokens = [len(self._plain)] if bos else []
        for part in re.split(b"(" + b"|".join(map(re.escape, self._control)) + b")", text.encode()):
            tag = part in self._control
            tokens += [len(self._plain) + self._control.index(part)] if tag else self.split(part)
        return tokens

    def split(self, data: bytes) -> list[int]:
        tokens: list[int] = []
        at = 0
        while at < len(data):
            fitting = (data[at : at + length] for length in range(self._longest, 0, -1))
            word = next(word for word in fitting if word in self._numbers)
            tokens.append(self._numbers[word])
            at += len(word)
        return tokens

    def text(self, token: int) -> bytes:
        return self._plain[token] if token < len(self._plain) else b""

    def spelled(self, token: int) -> bytes:
        return [*self._plain, *self._control][token]

    def is_control(self, token: int) -> bool:
        return token >= len(self._plain)

    def ends(self) -> list[int]:
        return [] if self._end is None else [self._end]
