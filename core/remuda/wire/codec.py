"""Bytes to Structs and back, once each, with Go's leniency where clients rely on it.

The reference server decodes with Go's `encoding/json`: the `Content-Type` is ignored, keys match in any case, unknown
keys are ignored, `null` leaves a field unset, and only the first JSON value of the body is read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from ..errors import BadRequest

__all__ = ["decode", "encode", "encode_line", "error_body"]

T = TypeVar("T", bound=Struct)

_ENCODER = msgspec.json.Encoder()
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_HALF_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F]))")
_BOM = b"\xef\xbb\xbf"


class _Error(Struct):
    error: str


def encode(value: Struct) -> bytes:
    """Compact UTF-8 JSON without a newline."""
    return _ENCODER.encode(value)


def encode_line(value: Struct) -> bytes:
    """One NDJSON line."""
    return _ENCODER.encode(value) + b"\n"


def error_body(message: str) -> bytes:
    """`{"error": message}`; text that is not valid Unicode cannot get in the way of saying so."""
    return _ENCODER.encode(_Error(message.encode("utf-8", "replace").decode("utf-8")))


def decode(body: bytes, type: type[T]) -> T:
    """The first JSON value of `body` as `type`. Raises `BadRequest` for anything else, however it is malformed."""
    if not body.strip():
        raise BadRequest("missing request body")
    body = body.removeprefix(_BOM)
    try:
        return _decode(body, type)
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid request: {error}") from None
    except RecursionError:
        raise BadRequest("invalid JSON: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        lone = _HALF_PAIR.search(body)
        if lone is not None:
            text = f"{lone[1].decode('ascii')} (byte {lone.start(1)}) is half of a surrogate pair; send valid Unicode"
            raise BadRequest(f"invalid JSON: {text}") from None
        raise BadRequest(f"invalid JSON: {error}") from None


def _decode(body: bytes, type: type[T]) -> T:
    decoder, shallow, names = _decoders(type)
    try:
        keys = shallow.decode(body)
    except msgspec.ValidationError:
        raise BadRequest("invalid request: the body must be a JSON object") from None
    except msgspec.DecodeError as error:
        trailing = _TRAILING.search(str(error))
        if trailing is None:
            raise
        body = body[: int(trailing[1]) - 1]  # the message counts from one
        keys = shallow.decode(body)
    if any(key not in names and key.lower() in names for key in keys):
        body = _ENCODER.encode({_fold(key, names): value for key, value in keys.items()})
    return decoder.decode(body)


def _fold(key: str, names: frozenset[str]) -> str:
    return key if key in names or key.lower() not in names else key.lower()


@lru_cache
def _decoders(
    type: type[T],
) -> tuple[msgspec.json.Decoder[T], msgspec.json.Decoder[dict[str, Raw]], frozenset[str]]:
    # Python's `float` makes an infinity of 1e400, so that whoever checks the value can name it.
    whole = msgspec.json.Decoder(type, float_hook=float)
    return whole, msgspec.json.Decoder(dict[str, Raw]), frozenset(type.__struct_encode_fields__)
