"""Reading on and on in a GGML file without trusting it: lengths are bounded, and compared with what is left of it.

Nothing says where things are: each is found by stepping over what comes before it, and a length that is wrong shows in
what comes after. Tensors' data is never read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from .header import GGMLError, GGMLTensor
from .layout import MAGICS, MAX_FRONT, MAX_NAME, MAX_TOKEN, TYPES

__all__ = ["Reader", "is_ggml", "opened"]

_NUMBER: Final = struct.Struct("<I")
_TENSOR: Final = struct.Struct("<3i")
"""How many dimensions, the length of the name, the type; then the dimensions, the name, the data."""
_SHAPES: Final = {1: struct.Struct("<i"), 2: struct.Struct("<2i")}
_SCORE: Final = 4
_ALIGNED: Final = frozenset({"ggjt", "ggcc"})
_ALIGNMENT: Final = 32


def is_ggml(path: Path) -> bool:
    """Whether it begins as GGML files do. Blocking; false for what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) in MAGICS
    except OSError:
        return False


@contextmanager
def opened(path: Path) -> Generator[Reader]:
    """The file, at its beginning. Raises `GGMLError`, also for one that cannot be read on while it is open."""
    try:
        with path.open("rb") as file:
            yield Reader(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise GGMLError("the weights are not there any more") from None
    except OSError as error:
        raise GGMLError(f"the weights cannot be read: {type(error).__name__}") from None


class Reader:
    """`at` is how far it has read, in bytes; each method goes on from there. All raise `GGMLError`.

    `token` is how many texts it came through in the last row of them.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size
        self.at = self.token = 0

    def go(self, at: int) -> None:
        self._file.seek(at)
        self.at = at

    def magic(self) -> tuple[str, int]:
        """The magic's name, and the version; 0 where the magic has none."""
        known = MAGICS.get(self._file.read(4))
        if known is None:
            raise GGMLError("not a GGML file: it begins with none of its magic numbers")
        self.at = 4
        name, versions = known
        if not versions:
            return name, 0
        version = self.number("its version")
        if version not in versions:
            raise GGMLError(f"version {version} of {name!r} is not known; there are {', '.join(map(str, versions))}")
        return name, version

    def number(self, what: str) -> int:
        return self.unpack(_NUMBER, what)[0]

    def unpack(self, form: struct.Struct, what: str) -> tuple[Any, ...]:
        return form.unpack(self._read(form.size, what))

    def texts(self, count: int, what: str, *, scores: bool = False) -> Iterator[bytes]:
        """`count` texts, each with its length before it and maybe a score after it. `what` is what one is called."""
        read, unpack, after = self._file.read, _NUMBER.unpack, _SCORE if scores else 0
        at, end = self.at, min(self.size, MAX_FRONT)
        for index in range(count):
            self.token = index
            head = read(4)
            length = unpack(head)[0] if len(head) == 4 else 0
            if length > MAX_TOKEN:
                raise GGMLError(f"{what} {index} of {count} has {length} bytes; at most {MAX_TOKEN} are possible")
            data = read(length + after)
            self.at = at = at + 4 + length + after
            if at > end:
                self.at = end
                where = f"the file ends inside {what}" if end == self.size else f"{MAX_FRONT} bytes do not reach {what}"
                raise GGMLError(f"{where} {index} of {count}")
            yield data[:length]

    def tensor_name(self) -> str:
        """Of the tensor that comes next, whose place is kept; empty if what comes is none."""
        begin = self.at
        try:
            dimensions, length, _ = self.unpack(_TENSOR, "")
            if dimensions not in _SHAPES or not 0 < length <= MAX_NAME:
                return ""
            self._read(_SHAPES[dimensions].size, "")
            return self._read(length, "").decode("utf-8", "replace")
        except GGMLError:
            return ""
        finally:
            self.go(begin)

    def tensor(self, magic: str, before: str) -> GGMLTensor:
        """The next one; its data is stepped over. `before` is what ended here, for messages."""
        begin = self.at
        if self.size - begin < _TENSOR.size:
            raise GGMLError(f"{self.size - begin} bytes follow {before}, which is too little for a tensor")
        dimensions, length, number = self.unpack(_TENSOR, "")
        if dimensions not in _SHAPES or not 0 < length <= MAX_NAME:
            raise GGMLError(
                f"what follows {before} at byte {begin} is no tensor: it would have {dimensions} dimensions"
                f" and a name of {length} bytes"
            )
        shape = self.unpack(_SHAPES[dimensions], f"the shape of the tensor after {before}")
        name = _name(self._read(length, f"the name of the tensor after {before}"))
        type = TYPES.get(number)
        if type is None:
            raise GGMLError(f"the tensor {name!r} has a type that is not supported: {number}")
        if min(shape) < 1:
            raise GGMLError(f"the tensor {name!r} has the impossible shape {list(shape)}")
        if shape[0] % type.block:
            raise GGMLError(
                f"the tensor {name!r} has rows of {shape[0]} elements, which is not a multiple of {type.block},"
                f" as the type {type.name} demands"
            )
        offset = self.at + (-self.at % _ALIGNMENT if magic in _ALIGNED else 0)
        size = shape[0] // type.block * type.size * (shape[1] if dimensions > 1 else 1)
        if offset + size > self.size:
            raise GGMLError(f"the tensor {name!r} ends at byte {offset + size}, but the file at byte {self.size}")
        self.go(offset + size)
        return GGMLTensor(name, type.name, shape, offset, size)

    def _read(self, size: int, what: str) -> bytes:
        data = self._file.read(size)
        self.at += len(data)
        if len(data) < size:
            raise GGMLError(f"the file ends inside {what}")
        return data


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise GGMLError(f"the name of a tensor is not UTF-8: {data!r}") from None
