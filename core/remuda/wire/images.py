"""The `images` of a request: from base64 to files whose kind and size are known, before any decoder sees them.

Only headers are read, in pure Python; whether the rest of a file is sound is found out where it is decoded, in the
runner.
"""

from __future__ import annotations

import binascii
import re
import string
import struct
from collections.abc import Callable, Sequence
from typing import Final

from ..errors import BadRequest

__all__ = ["MAX_IMAGES", "MAX_IMAGE_BYTES", "MAX_PIXELS", "MAX_RATIO", "MAX_SIDE", "decode_images"]

MAX_IMAGES: Final = 64
"""In one prompt."""
MAX_IMAGE_BYTES: Final = 32 * 2**20
MAX_PIXELS: Final = 64 * 2**20
MAX_SIDE: Final = 16_384
"""Pixels."""
MAX_RATIO: Final = 200
"""One side to the other; vision models end where one of them rounds to nothing."""

_MAX_SEGMENTS: Final = 4096
"""Of a JPEG, before its size must be known."""
_ALLOWED: Final = "send PNG, JPEG, GIF, BMP or WebP"
_LETTERS: Final = (string.ascii_letters + string.digits + "+/").encode()
_FOREIGN: Final = re.compile(rb"[^A-Za-z0-9+/\r\n]")
_LINE_ENDS: Final = b"\r\n"
# Start of frame, in any coding: C0 to CF without the tables C4 and CC and the extension C8.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone: TEM and the restarts.
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})


def decode_images(texts: Sequence[str]) -> tuple[bytes, ...]:
    """The files behind `texts`, which are standard base64 (Ollama API, "generate": `images`).

    Raises `BadRequest` for what is not base64, is no image, or is out of bounds. Takes some milliseconds for each
    megabyte.
    """
    if len(texts) > MAX_IMAGES:
        raise BadRequest(f"images holds {len(texts)} images; at most {MAX_IMAGES} are allowed")
    return tuple(_checked(_decoded(text, number), number) for number, text in enumerate(texts, 1))


def _decoded(text: str, number: int) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    # What encoders write, in one pass over it; looking for places takes three.
    rest = data.translate(None, _LETTERS)
    if len(data) % 4 or rest not in {b"", b"=", b"=="} or not data.endswith(rest):
        at = _illegal(data)
        if at is not None:
            raise BadRequest(f"illegal base64 data at input byte {at}")
        data = data.translate(None, _LINE_ENDS)
    if len(data) // 4 * 3 > MAX_IMAGE_BYTES + 2:
        raise _too_many_bytes(number)
    return binascii.a2b_base64(data)


def _illegal(data: bytes) -> int | None:
    """Where Go's decoder stops (`encoding/base64`, `StdEncoding`); None if it does not. Line ends do not count."""
    foreign = _FOREIGN.search(data)
    end = foreign.start() if foreign else len(data)
    # Letters of the last group, which should be four.
    rest = (end - data.count(b"\r", 0, end) - data.count(b"\n", 0, end)) % 4
    if foreign is None:
        return end - rest if rest else None
    if data[end : end + 1] != b"=" or rest < 2:
        return end
    after = _skip_line_ends(data, end + 1)
    if rest == 2:
        if after == len(data):
            return after
        if data[after : after + 1] != b"=":
            return after - 1
        after = _skip_line_ends(data, after + 1)
    return after if after < len(data) else None


def _skip_line_ends(data: bytes, at: int) -> int:
    return len(data) - len(data[at:].lstrip(_LINE_ENDS))


def _checked(data: bytes, number: int) -> bytes:
    if not data:
        raise BadRequest(f"image {number} is empty; {_ALLOWED}")
    if len(data) > MAX_IMAGE_BYTES:
        raise _too_many_bytes(number)
    try:
        width, height = _measure(data, number)
    except (struct.error, IndexError):
        raise BadRequest(f"image {number} ends inside its header") from None
    what = f"image {number} is {width} x {height} pixels"
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise BadRequest(f"{what}; 1 to {MAX_SIDE} are allowed on each side")
    if width * height > MAX_PIXELS:
        raise BadRequest(f"{what}; at most {MAX_PIXELS} pixels are allowed")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise BadRequest(f"{what}; one side may be at most {MAX_RATIO} times as long as the other")
    return data


def _too_many_bytes(number: int) -> BadRequest:
    return BadRequest(f"image {number} is too large; at most {MAX_IMAGE_BYTES} bytes are allowed")


def _measure(data: bytes, number: int) -> tuple[int, int]:
    """Width and height. Raises `struct.error` or `IndexError` where the file ends too early."""
    for magic, measure in _KINDS:
        if magic.match(data):
            size = measure(data)
            if size is None:
                raise BadRequest(f"image {number} is damaged: its header holds no size that can be found")
            return size
    if _AUDIO.match(data):
        raise BadRequest(f"image {number} is a sound: audio is not supported; {_ALLOWED}")
    raise BadRequest(f"image {number} is of no kind that is known; {_ALLOWED}")


def _png(data: bytes) -> tuple[int, int] | None:
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    return (width, height) if kind == b"IHDR" else None


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return width, abs(height)  # less than nothing: the rows go from the top down


def _webp(data: bytes) -> tuple[int, int] | None:
    (kind,) = struct.unpack_from("<4s", data, 12)
    if kind == b"VP8X":
        wide, high = data[24:27], data[27:30]
        if len(high) < 3:
            raise IndexError
        return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    if kind == b"VP8L":
        sign, bits = struct.unpack_from("<BI", data, 20)
        return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1) if sign == 0x2F else None
    if kind == b"VP8 ":
        sign, width, height = struct.unpack_from("<3sHH", data, 23)
        return (width & 0x3FFF, height & 0x3FFF) if sign == b"\x9d\x01\x2a" else None
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a marker may be filled up from the left
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + max(length, 2)
    return None


_Measure = Callable[[bytes], tuple[int, int] | None]
_KINDS: Final[tuple[tuple[re.Pattern[bytes], _Measure], ...]] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
)
# WAV, MP3 (with tags and without), FLAC, Ogg.
_AUDIO: Final = re.compile(rb"RIFF....WAVE|ID3|\xff[\xe0-\xff]|fLaC|OggS", re.DOTALL)
