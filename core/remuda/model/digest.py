"""SHA-256 digests: the only names that blobs have.

A digest from outside is parsed to its 32 bytes here and written out again from them, so that nothing else of what a
client or a registry sent can get into a path.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from msgspec import Struct

from ..errors import BadRequest

__all__ = ["Digest", "parse_digest"]

_WRITTEN: Final = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_SIZE: Final = 32


class Digest(Struct, frozen=True, order=True):
    """`str()` is `sha256:` and 64 lower-case hex digits."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != _SIZE:
            raise ValueError(f"a digest has {_SIZE} bytes, not {len(self.value)}")

    @property
    def hex(self) -> str:
        """64 lower-case hex digits."""
        return self.value.hex()

    @property
    def short(self) -> str:
        """The 12 hex digits that progress lines show."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def of(cls, data: bytes) -> Digest:
        return cls(hashlib.sha256(data).digest())


def parse_digest(text: str) -> Digest:
    """From `sha256:<hex>` or `sha256-<hex>`. Raises `BadRequest`."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise BadRequest("invalid digest format")
    return Digest(bytes.fromhex(found[1]))
