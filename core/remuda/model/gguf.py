"""Reading the metadata of a GGUF file without trusting it.

Only the header is read, through a memory map, in pure Python: every length is compared with what is left of the file
before anything is allocated, so a hostile file costs an exception. Arrays are skipped over and remembered by place,
because vocabularies are long and only single entries are ever wanted. Layout: the GGUF specification of ggml
(versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ..errors import LoadFailed

__all__ = ["ArrayPlace", "GGUFError", "GGUFHeader", "read_header"]

_MAGIC: Final = b"GGUF"
_MAX_KEYS: Final = 65_536
_MAX_TENSORS: Final = 262_144
_MAX_DIMENSIONS: Final = 4
_MAX_KEY: Final = 65_535
_MAX_TEXT: Final = 16 * 1024 * 1024
_MAX_ARRAY_WALK: Final = 4_000_000
_STRING, _ARRAY = 8, 9
_SCALARS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class GGUFError(LoadFailed):
    """The file is not a GGUF that can be read; the message names the field at fault, never the path."""


class ArrayPlace(Struct, frozen=True):
    """An array that was skipped: its element type, its length, and where its elements begin and end."""

    kind: int
    length: int
    offset: int
    end: int


class GGUFHeader(Struct, frozen=True, kw_only=True):
    """`values` holds scalars and texts by key, arrays as `ArrayPlace`."""

    version: int
    values: dict[str, Any]
    tensors: int
    parameters: int
    """Elements of all tensors."""

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """0 when absent or not a whole number."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    def of_architecture(self, key: str) -> int:
        """A whole number under the architecture's own prefix, such as `llama.context_length`."""
        return self.number(f"{self.architecture}.{key}")


def read_header(
    path: Path, wanted: tuple[str, ...] = (), texts: tuple[str, ...] = ()
) -> tuple[GGUFHeader, dict[str, str]]:
    """The header, and for each key of `wanted` that holds a token id, that token's text.

    Each of `texts` that is a token by itself is in that mapping too, as its own value.

    Blocking: tens of milliseconds for a large vocabulary. Raises `GGUFError`.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(data)
            header = reader.header()
            return header, dict(reader.tokens(header, wanted)) | {text: text for text in reader.present(header, texts)}
    except FileNotFoundError:
        raise GGUFError("the weights are not there any more") from None
    except (OSError, ValueError) as error:
        raise GGUFError(f"the weights cannot be read: {type(error).__name__}") from None


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at, self._size = data, 0, len(data)

    def header(self) -> GGUFHeader:
        if self._take(4, "magic") != _MAGIC:
            raise GGUFError("not a GGUF file: it does not begin with 'GGUF'")
        version = self._number("<I", "version")
        if version not in {2, 3}:
            raise GGUFError(f"GGUF version {version} is not supported; 2 and 3 are")
        tensors, keys = self._number("<Q", "tensor count"), self._number("<Q", "key count")
        if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
            raise GGUFError(f"tensor count {tensors} or key count {keys} is out of range")
        values: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string("key", _MAX_KEY)
            values[key] = self._value(self._number("<I", f"type of {key[:80]!r}"), key)
        parameters = sum(self._tensor() for _ in range(tensors))
        return GGUFHeader(version=version, values=values, tensors=tensors, parameters=parameters)

    def present(self, header: GGUFHeader, texts: tuple[str, ...]) -> Iterator[str]:
        """Those of `texts` that the vocabulary has: each is looked for with its length before it, as it is stored."""
        place = _vocabulary(header)
        for text in texts if place else ():
            data = text.encode()
            if place and self._data.find(struct.pack("<Q", len(data)) + data, place.offset, place.end) >= 0:
                yield text

    def tokens(self, header: GGUFHeader, wanted: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        place = _vocabulary(header)
        if place is None:
            return
        ids: dict[int, list[str]] = {}
        for key in wanted:
            if isinstance(id := header.values.get(key), int):
                ids.setdefault(id, []).append(key)
        self._at = place.offset
        for id in range(min(place.length, max(ids, default=-1) + 1)):
            if id in ids:
                text = self._string("token", _MAX_TEXT)
                yield from ((key, text) for key in ids[id])
            else:
                self._skip_string("token")

    def _tensor(self) -> int:
        self._skip_string("tensor name")
        dimensions = self._number("<I", "tensor dimensions")
        if dimensions > _MAX_DIMENSIONS:
            raise GGUFError(f"a tensor has {dimensions} dimensions; at most {_MAX_DIMENSIONS} are possible")
        elements = 1
        for _ in range(dimensions):
            elements *= self._number("<Q", "tensor shape")
        self._take(12, "tensor type and offset")
        if elements >= 2**63:
            raise GGUFError("a tensor's shape is out of range")
        return elements

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._string(key, _MAX_TEXT)
        if kind == _ARRAY:
            return self._skip_array(key)
        form = _SCALARS.get(kind)
        if form is None:
            raise GGUFError(f"{key[:80]!r} has an unknown type {kind}")
        return self._number(form, key)

    def _skip_array(self, key: str) -> ArrayPlace:
        kind, length = self._number("<I", key), self._number("<Q", key)
        offset = self._at
        form = _SCALARS.get(kind)
        if form is not None:
            self._take(length * struct.calcsize(form), key, copy=False)
        elif kind == _STRING and length <= min(_MAX_ARRAY_WALK, (self._size - self._at) // 8):
            for _ in range(length):
                self._skip_string(key)
        else:
            raise GGUFError(f"{key[:80]!r} is an array that cannot be: type {kind}, length {length}")
        return ArrayPlace(kind, length, offset, self._at)

    def _string(self, what: str, most: int) -> str:
        length = self._number("<Q", what)
        if length > most:
            raise GGUFError(f"{what[:80]!r} is too long: {length} bytes")
        return self._take(length, what).decode("utf-8", "replace")

    def _skip_string(self, what: str) -> None:
        self._take(self._number("<Q", what), what, copy=False)

    def _number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form), what))[0]

    def _take(self, size: int, what: str, *, copy: bool = True) -> bytes:
        begin, end = self._at, self._at + size
        if end > self._size:
            raise GGUFError(f"the file ends inside {what[:80]!r}")
        self._at = end
        return self._data[begin:end] if copy else b""


def _vocabulary(header: GGUFHeader) -> ArrayPlace | None:
    place = header.values.get("tokenizer.ggml.tokens")
    return place if isinstance(place, ArrayPlace) and place.kind == _STRING else None
