"""Vectors, as servers of OpenAI's API send them: lists of numbers, or float32 in base64 (OpenAI API, "Embeddings")."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any, Final, cast

import msgspec

from remuda.backend import Embedded
from remuda.errors import BadRequest

from ..faults import Broke
from .wire import Embeddings

__all__ = ["embedded"]

_REPLIES: Final = msgspec.json.Decoder(Embeddings)


def embedded(body: bytes, count: int, upstream: str) -> Embedded:
    """The vectors of a reply to `count` inputs, in their order. Blocking: there may be millions of numbers.

    Raises `Broke` for a reply that makes no sense, and `BadRequest` for a model that gives a vector for each token.
    """
    try:
        reply = _REPLIES.decode(body)
        places = [at if item.index is None else item.index for at, item in enumerate(reply.data)]
        if sorted(places) != list(range(count)):
            raise Broke(upstream, f"sent {len(reply.data)} vectors that are not those of {count} inputs")
        vectors = [b""] * count
        for place, item in zip(places, reply.data, strict=True):
            vectors[place] = _vector(item.embedding, upstream)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError, TypeError, OverflowError):
        raise Broke(upstream, "sent vectors that make no sense") from None
    return Embedded(vectors, (reply.usage.prompt_tokens if reply.usage else None) or 0)


def _vector(said: Any, upstream: str) -> bytes:
    if isinstance(said, str):
        data = base64.b64decode(said, validate=True)
        floats = array("f", data)
        if sys.byteorder == "big":
            floats.byteswap()
        return floats.tobytes()
    numbers = cast(list[Any], said)
    if numbers and isinstance(numbers[0], list):
        if len(numbers) > 1:
            raise BadRequest(
                f"upstream '{upstream}' cannot do embeddings with this model: it gives a vector for each token, and "
                "must be started with pooling"
            )
        numbers = cast(list[Any], numbers[0])
    return array("f", numbers).tobytes()
