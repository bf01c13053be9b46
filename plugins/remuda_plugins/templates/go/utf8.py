"""Go's strings are bytes; here they are `str`, and a byte that is not UTF-8 is one of Python's escaped surrogates.

So `slice` may cut a character in two, and printing the halves next to each other makes it whole again.
"""

from __future__ import annotations

import re

__all__ = ["decode", "encode", "final", "joined", "length"]

_ESCAPED = re.compile("[\udc80-\udcff]")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def encode(text: str) -> bytes:
    """The bytes of a string. Surrogates that stand for no byte become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def decode(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def joined(text: str) -> str:
    """Text that was put together from strings: bytes that have become a character are that character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return decode(encode(text))
    return text


def final(text: str) -> str:
    """Text for somebody who knows no bytes: those that are no character are U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ESCAPED.sub("\ufffd", decode(encode(text)))
    return text


def length(text: str) -> int:
    """In bytes."""
    return len(text) if text.isascii() else len(encode(text))
