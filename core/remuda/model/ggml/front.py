"""What comes before the tensors of a GGML file, and what type of model it is.

That is tried: the layouts that its magic allows are read one after the other, up to the first tensor, whose name tells
whether it was the right one. A wrong layout takes sizes for others, and then something for the vocabulary that is none.
Types of one layout are told by tokens that only one of them has.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from msgspec import Struct

from ..gguf.numbers import short_float32
from .header import GGMLError
from .layout import BOUNDS, FRACTIONS, KNOWN_TYPES, LAYOUTS, MAX_MERGES, Layout
from .names import owns
from .reader import Reader

__all__ = ["Front", "read_front"]

_TELLING: Final = {"starcoder": ("<fim-prefix>", "<fim_prefix>"), "dolly-v2": ("### End",)}
"""Tokens by which a type is told from the other one of its layout."""
_ASKED: Final = frozenset(text for texts in _TELLING.values() for text in texts)
_INTEGER: Final = struct.Struct("<i")
_FLOAT: Final = struct.Struct("<f")


class Front(Struct, frozen=True):
    layout: Layout
    values: dict[str, int | float]
    """The sizes, by their names."""
    vocabulary: tuple[int, int]
    """Where the tokens begin and end."""
    found: frozenset[str]
    """Those of the texts that were asked for that are tokens, and others."""
    end: int
    """Where the first tensor begins."""

    @property
    def told(self) -> str:
        """The type that the vocabulary tells."""
        usual, *others = self.layout.types
        return next((other for other in others if self.found.intersection(_TELLING[other])), usual)


def read_front(reader: Reader, magic: str, wanted: str, asked: frozenset[str]) -> Front:
    """Read by the layout of the type that is `wanted`, or of the one that the file is if that is empty.

    Raises `GGMLError`, which says what else the file is, if it is something else.
    """
    begin, furthest = reader.at, -1
    texts = {text.encode(): text for text in asked | _ASKED}
    fault = ""
    for layout in sorted(LAYOUTS, key=lambda layout: wanted not in layout.types):
        if magic not in layout.magics:
            continue
        reader.go(begin)
        reader.token = 0
        try:
            front = _read(reader, layout, magic, texts)
        except GGMLError as error:
            reason = str(error)
        else:
            name = reader.tensor_name()
            if owns(layout.types[0], name):
                break
            reason = f"its first tensor would be {name!r}" if name else "no tensor follows its vocabulary"
        if wanted in layout.types or (reader.token > furthest and not wanted):
            furthest, fault = reader.token, f"as {layout.types[0]}, {reason}"
    else:
        raise GGMLError(_unknown(magic, wanted, fault))
    if wanted and wanted not in front.layout.types:
        raise GGMLError(f"the model_type is {wanted!r}, but the file is a model of the type {front.told!r}")
    return front


def _unknown(magic: str, wanted: str, fault: str) -> str:
    if wanted:
        return f"it cannot be read {fault or f'as {wanted}, of which no files begin with {magic!r}'}"
    found = f" (read {fault})" if fault else ""
    return (
        f"the file does not tell what kind of model it is{found};"
        f" if it is a whole one, say it with PARAMETER model_type: {KNOWN_TYPES}"
    )


def _read(reader: Reader, layout: Layout, magic: str, asked: dict[bytes, str]) -> Front:
    values: dict[str, int | float] = {name: _size(reader, name) for name in layout.sizes}
    if magic == "ggcc":
        values["merge_count"] = _size(reader, "merge_count")
    count = int(values["vocab_size"])
    if layout.twice and (again := reader.number("its sizes")) != count:
        raise GGMLError(f"its vocabulary has {count} tokens at first, and then {again}")
    begin = reader.at
    found: set[str] = set()
    for token, text in enumerate(reader.texts(count, "token", scores=magic in layout.scores)):
        if text in asked:
            found.add(asked[text])
        if "mpt" in layout.types:
            _check_text(token, text)
    end = reader.at
    if magic == "ggcc":
        _skip_merges(reader)
    return Front(layout, values, (begin, end), frozenset(found), reader.at)


def _size(reader: Reader, name: str) -> int | float:
    if name in FRACTIONS:
        low, high = FRACTIONS[name]
        value = float(reader.unpack(_FLOAT, f"{name!r}")[0])
        if not (math.isfinite(value) and low <= value <= high):
            raise GGMLError(f"{name!r} is {value:g}; it must be from {low:g} to {high:g}")
        return float(short_float32([value])[0])
    low, high = BOUNDS[name]
    value = int(reader.unpack(_INTEGER, f"{name!r}")[0])
    if not low <= value <= high:
        raise GGMLError(f"{name!r} is {value}; it must be from {low} to {high}")
    return value


def _check_text(token: int, text: bytes) -> None:
    """The library would end the process."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise GGMLError(f"token {token} is not UTF-8: {text[:80]!r}") from None


def _skip_merges(reader: Reader) -> None:
    count = reader.number("the number of merges")
    if count > MAX_MERGES:
        raise GGMLError(f"there are {count} merges; at most {MAX_MERGES} are possible")
    for _ in reader.texts(2 * count, "part of a merge"):
        pass
