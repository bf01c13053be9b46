"""What an ONNX file says of itself: inputs, outputs, and which other files hold its weights. Without ONNX Runtime.

The format is Protocol Buffers: fields of a number, a type and a value, messages within messages (`onnx.proto` has the
numbers). Of a file of gigabytes only the heads of fields are looked at, for weights are skipped by their length. The
file is not trusted: each length is held against what is there, and how many messages there may be, and how deep in each
other, is bounded.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from remuda.errors import LoadFailed

__all__ = ["External", "Graph", "Port", "read_graph"]

_DEEPEST: Final = 32
_MOST_FIELDS: Final = 1_000_000
"""A model of a thousand layers has a third of that."""
_AGAIN: Final = "download it again"

_MESSAGES: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""By the kind of a message the fields of it that are messages in which more may be found, and their kinds."""


class Port(Struct, frozen=True):
    """An input or an output."""

    type: int
    """As `TensorProto.DataType` numbers them; 0 for what is no tensor."""
    shape: tuple[int | None, ...]
    """None for a dimension that is known only when it is computed."""


class External(Struct, frozen=True):
    """A file with weights."""

    location: str
    """As the model writes it: a path from the model's folder."""
    end: int
    """Bytes that it must have at least."""


class Graph(Struct):
    """Filled while the file is read."""

    inputs: dict[str, Port] = field(default_factory=dict[str, Port])
    outputs: dict[str, Port] = field(default_factory=dict[str, Port])
    external: dict[str, External] = field(default_factory=dict[str, External])
    """By location."""


class _Broken(Exception):
    """The bytes are no message. The text says why."""


def read_graph(path: Path) -> Graph:
    """Blocking. Raises `LoadFailed` for what is no whole ONNX file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graph = _Reader(data).graph()
    except ValueError:  # of `mmap`
        raise LoadFailed(f"{path.name} is empty: {_AGAIN}") from None
    except OSError as error:
        raise LoadFailed(f"{path.name} cannot be read: {type(error).__name__}") from None
    except _Broken as broken:
        raise LoadFailed(f"{path.name} is no whole ONNX file ({broken}): {_AGAIN}") from None
    if not graph.inputs or not graph.outputs:
        raise LoadFailed(f"{path.name} is no ONNX model: it has no inputs or no outputs")
    return graph


class _Reader:
    """Of one file. Places are given as where something begins and where it ends. Methods raise `_Broken`."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._left = data, _MOST_FIELDS
        self._graph = Graph()

    def graph(self) -> Graph:
        self._walk("model", 0, len(self._data), 0)
        return self._graph

    def _walk(self, kind: str, begin: int, end: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Broken("its parts lie too deep in each other")
        messages = _MESSAGES[kind]
        for number, start, stop in self._fields(begin, end):
            inner = messages.get(number)
            if inner == "tensor":
                self._note_external(start, stop)
            elif inner in {"input", "output"}:
                # Those of graphs within graphs, which loops and branches have, are none of the model's own.
                if depth == 1:
                    name, port = self._port(start, stop)
                    (self._graph.inputs if inner == "input" else self._graph.outputs)[name] = port
            elif inner is not None:
                self._walk(inner, start, stop, depth + 1)

    def _note_external(self, begin: int, end: int) -> None:
        """What a `TensorProto` says in `external_data`, if it does."""
        told = dict(self._entry(start, stop) for number, start, stop in self._fields(begin, end) if number == 13)
        if not told:
            return
        location = told.get("location", "")
        try:
            last = int(told.get("offset", "0")) + int(told.get("length", "0"))
        except ValueError:
            raise _Broken("it does not say where in another file its weights are") from None
        known = self._graph.external.get(location)
        self._graph.external[location] = External(location, max(last, known.end if known else 0))

    def _entry(self, begin: int, end: int) -> tuple[str, str]:
        """A key and its value, `StringStringEntryProto`."""
        texts = {number: self._text(start, stop) for number, start, stop in self._fields(begin, end)}
        return texts.get(1, ""), texts.get(2, "")

    def _port(self, begin: int, end: int) -> tuple[str, Port]:
        """`ValueInfoProto`: a name and, in `type.tensor_type`, the type of its elements and its shape."""
        name, port = "", Port(0, ())
        for number, start, stop in self._fields(begin, end):
            if number == 1:
                name = self._text(start, stop)
            elif number == 2:
                tensors = [place for place in self._fields(start, stop) if place[0] == 1]
                port = self._tensor_type(*tensors[-1][1:]) if tensors else port
        return name, port

    def _tensor_type(self, begin: int, end: int) -> Port:
        type, shape = 0, list[int | None]()
        for number, start, stop in self._fields(begin, end):
            if number == 1:
                type = self._varint(start, stop)[0]
            elif number == 2:
                shape = [self._dimension(*place[1:]) for place in self._fields(start, stop) if place[0] == 1]
        return Port(type, tuple(shape))

    def _dimension(self, begin: int, end: int) -> int | None:
        return next((self._varint(*place[1:])[0] for place in self._fields(begin, end) if place[0] == 1), None)

    # --- Protocol Buffers ---

    def _fields(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Each field's number, and where its value begins and ends."""
        while begin < end:
            self._left -= 1
            if self._left < 0:
                raise _Broken("it has too many parts")
            tag, start = self._varint(begin, end)
            number, wire = tag >> 3, tag & 7
            if wire == 0:
                begin = self._varint(start, end)[1]
            elif wire == 1:
                begin = start + 8
            elif wire == 2:
                length, start = self._varint(start, end)
                begin = start + length
            elif wire == 5:
                begin = start + 4
            else:
                raise _Broken("it holds what no field is")
            if begin > end or not number:
                raise _Broken("it ends too early")
            yield number, start, begin

    def _varint(self, begin: int, end: int) -> tuple[int, int]:
        """A number, seven bits in each byte, the lowest first; and where it ends."""
        value, data = 0, self._data
        for place, at in enumerate(range(begin, min(end, begin + 10))):
            byte = data[at]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value, at + 1
        raise _Broken("it ends too early")

    def _text(self, begin: int, end: int) -> str:
        return self._data[begin:end].decode("utf-8", "replace")
