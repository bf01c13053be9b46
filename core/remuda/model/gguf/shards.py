"""Joining the files of a split GGUF into one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from .check import check_gguf
from .header import GGUFError, GGUFHeader, TensorPlace
from .layout import LENGTH, MAGIC, NUMBER, by_name
from .reader import opened

__all__ = ["merge_shards"]

_OWN: Final = "split."
"""How the keys begin that only parts have."""
_PIECE: Final = 4 * 1024 * 1024
"""Bytes that are copied at a time."""


class _Shard(Struct, frozen=True):
    path: Path
    header: GGUFHeader


def merge_shards(paths: Sequence[Path], write: Callable[[bytes], Any]) -> None:
    """Writes the whole that the files are the parts of, in any order, piece by piece.

    The metadata is the first part's, the tensors keep their order and their bytes. Blocking: reads everything.
    Raises `GGUFError` before anything is written if a file is not sound, or if they are not all the parts of one whole;
    what `write` raises goes through.
    """
    shards = _sorted([_Shard(path, check_gguf(path)) for path in paths])
    first = shards[0].header
    places = _placed(shards, first.alignment)
    head = 0
    for piece in _head(shards[0].path, places):
        write(piece)
        head += len(piece)
    write(bytes(-head % first.alignment))
    for shard in shards:
        for piece in _data(shard, first.alignment):
            write(piece)


def _sorted(shards: list[_Shard]) -> list[_Shard]:
    """In their order. Raises `GGUFError` if they are not all the parts of one whole."""
    shards.sort(key=lambda shard: shard.header.shard)
    counts = {shard.header.shards for shard in shards}
    if counts != {len(shards)}:
        raise GGUFError(f"{len(shards)} files of a split GGUF are here, but their 'split.count' says {sorted(counts)}")
    numbers = [shard.header.shard for shard in shards]
    if numbers != list(range(len(shards))):
        raise GGUFError(f"the files of the split GGUF have 'split.no' {numbers}, not each number once")
    found = sum(shard.header.tensors for shard in shards)
    for shard in shards:
        said = shard.header.number("split.tensors.count")
        if said not in {0, found}:
            raise GGUFError(f"'split.tensors.count' is {said}, but the files together have {found} tensors")
    return shards


def _placed(shards: Sequence[_Shard], alignment: int) -> list[TensorPlace]:
    """All tensors, where they will be. Raises `GGUFError` for a name that is there twice."""
    places: list[TensorPlace] = []
    names: set[str] = set()
    offset = 0
    for tensor in (tensor for shard in shards for tensor in shard.header.tensor_list):
        if tensor.name in names:
            raise GGUFError(f"the tensor {tensor.name!r} is in two files of the split GGUF")
        names.add(tensor.name)
        places.append(TensorPlace(tensor.name, tensor.type, tensor.shape, offset, tensor.size))
        offset += tensor.size + -tensor.size % alignment
    return places


def _head(path: Path, places: Sequence[TensorPlace]) -> Iterator[bytes]:
    with opened(path) as reader:
        header = reader.header()
        keys = [key for key in header.values if not key.startswith(_OWN)]
        yield MAGIC + NUMBER.pack(header.version) + LENGTH.pack(len(places)) + LENGTH.pack(len(keys))
        for key in keys:
            yield reader.pair(key)
    for place in places:
        yield _info(place)


def _info(place: TensorPlace) -> bytes:
    name, type, dimensions = place.name.encode(), by_name(place.type), len(place.shape)
    assert type is not None  # the file was checked
    last = struct.pack(f"<I{dimensions}QIQ", dimensions, *place.shape, type.number, place.offset)
    return LENGTH.pack(len(name)) + name + last


def _data(shard: _Shard, alignment: int) -> Iterator[bytes]:
    """The tensors of one file, each with its padding."""
    try:
        with shard.path.open("rb") as file:
            for tensor in shard.header.tensor_list:
                file.seek(shard.header.data_offset + tensor.offset)
                left = tensor.size
                while left:
                    piece = file.read(min(left, _PIECE))
                    if not piece:
                        raise GGUFError(f"the file ends inside the tensor {tensor.name!r}")
                    yield piece
                    left -= len(piece)
                yield bytes(-tensor.size % alignment)
    except OSError as error:
        raise GGUFError(f"the tensors cannot be read: {type(error).__name__}") from None
