"""Reading the header of a GGUF file without trusting it.

Through a memory map, in pure Python: every length is compared with what is left of the header before anything is
allocated, so a hostile file costs an exception. Arrays are skipped over and remembered by place, because vocabularies
are long and only single entries are ever wanted.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...errors import OutOfMemory
from .header import ArrayPlace, GGUFError, GGUFHeader, TensorPlace, TextPlace
from .layout import (
    ARRAY,
    BOOL,
    DEFAULT_ALIGNMENT,
    FLOAT32,
    LENGTH,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_HEADER,
    MAX_KEY,
    MAX_KEYS,
    MAX_LISTED_TEXTS,
    MAX_TENSOR_NAME,
    MAX_TENSORS,
    MAX_TEXT,
    MAX_TEXTS,
    NUMBER,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    UINT32,
)
from .numbers import short_float32

__all__ = ["Reader", "opened", "read_header"]

_NO_BOOL: Final = re.compile(rb"[^\x00\x01]")
_MAX_ALIGNMENT: Final = 65_536
_MAX_ELEMENTS: Final = 2**63
_ALIGNMENT: Final = "general.alignment"
_LENGTHS: Final = {1: NUMBER, 2: LENGTH, 3: LENGTH}
"""By the version: what counts, and the lengths of texts and lists, are written as."""
_DIMENSIONS: Final = {
    form: [struct.Struct(f"<{count}{form.format[-1:]}IQ") for count in range(MAX_DIMENSIONS + 1)]
    for form in (NUMBER, LENGTH)
}
"""A tensor's shape, whose sizes are written so too, its type and its offset."""


def read_header(
    path: Path, wanted: tuple[str, ...] = (), texts: tuple[str, ...] = ()
) -> tuple[GGUFHeader, dict[str, str]]:
    """The header, and for each key of `wanted` that holds a token id, that token's text.

    Each of `texts` that is a token by itself is in that mapping too, as its own value.

    Blocking: tens of milliseconds for a large vocabulary. Raises `GGUFError`.
    """
    with opened(path) as reader:
        header = reader.header()
        return header, dict(reader.tokens(header, wanted)) | {text: text for text in reader.present(header, texts)}


@contextmanager
def opened(path: Path) -> Generator[Reader]:
    """The file, ready for `Reader.header`. Raises `GGUFError`."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(MAGIC):
                raise GGUFError(f"not a GGUF file: it has {size} bytes")
            data = mmap.mmap(file.fileno(), min(size, MAX_HEADER), access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise GGUFError("the weights are not there any more") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise OutOfMemory("there is not enough memory to read the weights") from None
        raise GGUFError(f"the weights cannot be read: {type(error).__name__}") from None
    with data:
        yield Reader(data, size)


class Reader:
    """`header` comes first, and once; then the rest, in any order."""

    def __init__(self, data: mmap.mmap, file_size: int) -> None:
        self._data, self._at, self._end, self._file_size = data, 0, len(data), file_size
        self._texts_left, self._listed_left = MAX_TEXTS, MAX_LISTED_TEXTS
        self._pairs: dict[str, tuple[int, int]] = {}
        self._length = LENGTH

    def header(self) -> GGUFHeader:
        """Checks what belongs to the layout; what the values mean is another's to check."""
        version = self._version()
        self._length = _LENGTHS[version]
        tensors, keys = self._number(self._length, "tensor count"), self._number(self._length, "key count")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise GGUFError(f"tensor count {tensors} or key count {keys} is out of range")
        values = self._values(keys)
        alignment = _alignment(values)
        found = tuple(self._tensor(index) for index in range(tensors))
        return GGUFHeader(
            version=version,
            values=values,
            tensors=tensors,
            parameters=sum(_elements(tensor.shape) for tensor in found),
            tensor_list=found,
            alignment=alignment,
            data_offset=self._at + -self._at % alignment,
            file_size=self._file_size,
        )

    def present(self, header: GGUFHeader, texts: tuple[str, ...]) -> Iterator[str]:
        """Those of `texts` that the vocabulary has: each is looked for with its length before it, as it is stored."""
        place = _vocabulary(header)
        if place is None:
            return
        for text in texts:
            data = text.encode()
            if self._data.find(self._length.pack(len(data)) + data, place.offset, place.end) >= 0:
                yield text

    def tokens(self, header: GGUFHeader, wanted: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        place = _vocabulary(header)
        ids: dict[int, list[str]] = {}
        for key in wanted:
            if isinstance(id := header.values.get(key), int):
                ids.setdefault(id, []).append(key)
        if place is None or not ids:
            return
        last = max(ids)
        for id, data in enumerate(self.listed_texts(place)):
            for key in ids.get(id, ()):
                yield key, data.decode("utf-8", "replace")
            if id >= last:
                return

    def listed_texts(self, place: ArrayPlace) -> Iterator[bytes]:
        """The elements of an array of texts."""
        at = place.offset
        for _ in range(place.length):
            begin = at + self._length.size
            at = begin + self._length.unpack_from(self._data, at)[0]
            yield self._data[begin:at]

    def listed_numbers(self, place: ArrayPlace, begin: int = 0, count: int | None = None) -> tuple[Any, ...]:
        """`count` elements of an array of numbers or truth values, all from `begin` on without it."""
        form = SCALARS[place.kind]
        count = place.length - begin if count is None else count
        return struct.unpack_from(f"<{count}{form.format[-1:]}", self._data, place.offset + begin * form.size)

    def pair(self, key: str) -> bytes:
        """A key and its value as they stand in the file."""
        begin, end = self._pairs[key]
        return self._data[begin:end]

    def long_text(self, place: TextPlace) -> bytes:
        return self._data[place.offset : place.end]

    def _version(self) -> int:
        if self._bytes(len(MAGIC), "magic") != MAGIC:
            raise GGUFError("not a GGUF file: it does not begin with 'GGUF'")
        version = self._number(NUMBER, "version")
        if version and not version & 0xFFFF:
            raise GGUFError("the version is written big-endian; only little-endian files can be read")
        if version not in _LENGTHS:
            raise GGUFError(f"GGUF version {version} is not supported; 1, 2 and 3 are")
        return version

    def _values(self, count: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for index in range(count):
            begin = self._at
            key = self._name(self._short_text(MAX_KEY, f"key {index}"), f"key {index}")
            if key in values:
                raise GGUFError(f"the key {key[:80]!r} is there twice")
            kind = self._number(NUMBER, key)
            if key == _ALIGNMENT and kind != UINT32:
                raise GGUFError(f"{key!r} has the type {kind}; it must be {UINT32}, a 32-bit number")
            values[key] = self._value(kind, key)
            self._pairs[key] = begin, self._at
        return values

    def _value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self._text(key)
        if kind == ARRAY:
            return self._array(key)
        form = SCALARS.get(kind)
        if form is None:
            raise GGUFError(f"{key[:80]!r} has an unknown type {kind}")
        at = self._advance(form.size, key)
        self._check_bools(kind, at, key)
        (value,) = form.unpack_from(self._data, at)
        return float(short_float32([value])[0]) if kind == FLOAT32 else value

    def _array(self, key: str) -> ArrayPlace:
        kind, length = self._number(NUMBER, key), self._number(self._length, key)
        offset = self._at
        form = SCALARS.get(kind)
        if form is not None:
            self._advance(length * form.size, key)
            self._check_bools(kind, offset, key)
        elif kind == STRING and length <= (self._end - self._at) // self._length.size:
            self._skip_texts(length, key)
        else:
            raise GGUFError(f"{key[:80]!r} is an array that cannot be: type {kind}, length {length}")
        return ArrayPlace(kind, length, offset, self._at)

    def _skip_texts(self, count: int, key: str) -> None:
        self._listed_left -= count
        if self._listed_left < 0:
            raise GGUFError(f"{key[:80]!r} has {count} texts; at most {MAX_LISTED_TEXTS} are possible in all arrays")
        unpack, step, data, at, end = self._length.unpack_from, self._length.size, self._data, self._at, self._end
        try:
            for _ in range(count):
                at += step + unpack(data, at)[0]
                if at > end:
                    raise self._cut(key)
        except struct.error:
            raise self._cut(key) from None
        self._at = at

    def _check_bools(self, kind: int, begin: int, key: str) -> None:
        if kind == BOOL and _NO_BOOL.search(self._data, begin, self._at):
            raise GGUFError(f"{key[:80]!r} holds a truth value that is neither 0 nor 1")

    def _text(self, key: str) -> str | TextPlace:
        size = self._number(self._length, key)
        if size > MAX_TEXT:
            begin = self._advance(size, key)
            return TextPlace(begin, self._at)
        return self._read(size, key).decode("utf-8", "replace")

    def _short_text(self, most: int, what: str) -> bytes:
        size = self._number(self._length, what)
        if size > most:
            raise GGUFError(f"{what} is too long: {size} bytes; at most {most} are possible")
        return self._read(size, what)

    def _read(self, size: int, what: str) -> bytes:
        self._texts_left -= size
        if self._texts_left < 0:
            raise GGUFError(f"the texts up to {what[:80]!r} are too long: at most {MAX_TEXTS} bytes are read")
        return self._bytes(size, what)

    def _name(self, data: bytes, what: str) -> str:
        try:
            name = data.decode()
        except UnicodeDecodeError:
            raise GGUFError(f"{what} is not UTF-8: {data[:80]!r}") from None
        if not name or "\0" in name:
            raise GGUFError(f"{what} is empty or holds a zero: {name[:80]!r}")
        return name

    def _tensor(self, index: int) -> TensorPlace:
        what = f"the name of tensor {index}"
        name = self._name(self._short_text(MAX_TENSOR_NAME, what), what)
        dimensions = self._number(NUMBER, name)
        if dimensions > MAX_DIMENSIONS:
            raise GGUFError(f"tensor {name!r} has {dimensions} dimensions; at most {MAX_DIMENSIONS} are possible")
        form = _DIMENSIONS[self._length][dimensions]
        *shape, kind, offset = form.unpack_from(self._data, self._advance(form.size, name))
        elements = _elements(shape)
        if not 0 < elements < _MAX_ELEMENTS:
            raise GGUFError(f"tensor {name!r} has the impossible shape {shape}")
        type = TENSOR_TYPES.get(kind)
        if type is None:
            return TensorPlace(name, f"unknown({kind})", tuple(shape), offset, 0)
        return TensorPlace(name, type.name, tuple(shape), offset, -(-elements // type.block) * type.size)

    def _number(self, form: struct.Struct, what: str) -> int:
        return form.unpack_from(self._data, self._advance(form.size, what))[0]

    def _bytes(self, size: int, what: str) -> bytes:
        begin = self._advance(size, what)
        return self._data[begin : self._at]

    def _advance(self, size: int, what: str) -> int:
        """Steps over `size` bytes; returns where they begin."""
        begin, end = self._at, self._at + size
        if end > self._end:
            raise self._cut(what)
        self._at = end
        return begin

    def _cut(self, what: str) -> GGUFError:
        if self._end < self._file_size:
            return GGUFError(f"{what[:80]!r} goes beyond the first {MAX_HEADER} bytes, where all metadata must be")
        return GGUFError(f"the file ends inside {what[:80]!r}")


def _elements(shape: Iterable[int]) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _alignment(values: dict[str, Any]) -> int:
    alignment: int = values.get(_ALIGNMENT, DEFAULT_ALIGNMENT)
    if not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise GGUFError(f"{_ALIGNMENT!r} is {alignment}; it must be a power of two, at most {_MAX_ALIGNMENT}")
    return alignment


def _vocabulary(header: GGUFHeader) -> ArrayPlace | None:
    place = header.values.get("tokenizer.ggml.tokens")
    return place if isinstance(place, ArrayPlace) and place.kind == STRING else None
