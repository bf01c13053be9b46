"""The vectors of `/api/embed`, which may be a hundred megabytes of text, as float32."""

from __future__ import annotations

from array import array
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from remuda.backend import Embedded

from .plain import count

__all__ = ["embedded", "longest"]

_VECTOR: Final = 512 * 1024
"""Bytes for the text of one vector: more numbers than any model has."""
_MOST: Final = 512 * 1024 * 1024
_NUMBERS: Final = msgspec.json.Decoder(list[float])


class _Reply(Struct, frozen=True):
    embeddings: list[Raw] = field(default_factory=list[Raw])
    prompt_eval_count: Any = 0


def longest(inputs: int) -> int:
    """Bytes that the reply to so many inputs may have."""
    return min((inputs + 1) * _VECTOR, _MOST)


def embedded(body: bytes) -> Embedded:
    """Raises `msgspec.DecodeError` for what is no such reply. Takes half a second for a hundred megabytes."""
    reply = msgspec.json.decode(body, type=_Reply)
    # One vector at a time, so that the numbers of all of them are never Python objects together, and other threads run.
    vectors = [array("f", _NUMBERS.decode(raw)).tobytes() for raw in reply.embeddings]
    return Embedded(vectors, count(reply.prompt_eval_count))
