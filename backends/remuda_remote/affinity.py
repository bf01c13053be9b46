"""Which upstream has seen the beginning of a conversation: pure, bounded, and nothing of a text is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Final

__all__ = ["BLOCK", "BLOCKS", "Affinity", "marks"]

BLOCK: Final = 256
"""Bytes. What differs only within one is the same conversation; what is shorter is none."""
BLOCKS: Final = 64
"""Blocks that are looked at: conversations that have 16 KiB in common are the same."""


def marks(model: str, prefix: bytes) -> list[bytes]:
    """A hash of each beginning of `prefix`, the shortest first; `model` is a key of a name."""
    text = memoryview(prefix)
    hasher = blake2b(model.encode(), digest_size=8)
    found: list[bytes] = []
    for end in range(BLOCK, min(len(text), BLOCK * BLOCKS) + 1, BLOCK):
        hasher.update(text[end - BLOCK : end])
        found.append(hasher.digest())
    return found


class Affinity:
    """Of the beginnings seen last, who served them."""

    def __init__(self, size: int = 50_000) -> None:
        self._size = size
        self._served: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._served)

    def favoured(self, marks: Sequence[bytes], among: Collection[str]) -> str | None:
        """Who of `among` served the longest beginning that is known."""
        for mark in reversed(marks):
            if (name := self._served.get(mark)) is not None and name in among:
                return name
        return None

    def remember(self, marks: Sequence[bytes], name: str) -> None:
        """`name` has begun to answer: all of it is in its cache now."""
        for mark in marks:
            self._served[mark] = name
            self._served.move_to_end(mark)
        while len(self._served) > self._size:
            self._served.popitem(last=False)
