"""GGUF of the first version, which counts and measures in 32 bits, made from a later one."""

from __future__ import annotations

import struct
from pathlib import Path

from remuda.model.gguf import GGUFHeader, read_header

__all__ = ["write_early"]

_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def write_early(path: Path, source: Path) -> Path:
    """What the file `source` says, in `path`."""
    header, data = read_header(source)[0], source.read_bytes()
    reading = _Reading(data)
    head = b"GGUF" + struct.pack("<3I", 1, header.tensors, len(header.values))
    head += b"".join(reading.pair() for _ in header.values) + _infos(header)
    path.write_bytes(head + bytes(-len(head) % header.alignment) + data[header.data_offset :])
    return path


class _Reading:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 24

    def pair(self) -> bytes:
        key, [kind] = self._text(), self._take("<I")
        return key + struct.pack("<I", kind) + self._value(kind)

    def _value(self, kind: int) -> bytes:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._bytes(_SIZES[kind])
        kind, count = self._take("<IQ")
        elements = b"".join(self._value(kind) for _ in range(count))
        return struct.pack("<II", kind, count) + elements

    def _text(self) -> bytes:
        [length] = self._take("<Q")
        return struct.pack("<I", length) + self._bytes(length)

    def _take(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]


def _infos(header: GGUFHeader) -> bytes:
    numbers = {"F32": 0, "F16": 1}
    infos = b""
    for tensor in header.tensor_list:
        name, count = tensor.name.encode(), len(tensor.shape)
        infos += struct.pack("<I", len(name)) + name
        infos += struct.pack(f"<I{count}IIQ", count, *tensor.shape, numbers[tensor.type], tensor.offset)
    return infos
