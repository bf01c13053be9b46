"""The model as a function: from tokens, and a cache of those before them, to logits and a longer cache."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from remuda.errors import EngineError

from .native import Session, Stop, Tensor, array, tensor
from .ports import IDS, KEEP, LOGITS, MASK, POSITIONS, CachePort, Ports

__all__ = ["Cache", "Decoder"]


class Cache(Struct, frozen=True):
    """What was computed of the first `length` tokens of a text: keys and values, layer by layer."""

    length: int
    tensors: list[Tensor]

    def cut(self, length: int) -> Cache:
        """That of the first `length` tokens only; the same one where it has no more."""
        if length >= self.length:
            return self
        return Cache(length, [tensor(array(each)[:, :, :length]) for each in self.tensors])


class Decoder:
    """Computes one text at a time. It holds none: texts, and their caches, are the caller's."""

    def __init__(self, session: Session, ports: Ports) -> None:
        self._session, self._ports = session, ports
        self._outputs = [LOGITS, *(cache.present for cache in ports.caches)]
        self.empty = Cache(0, [_nothing(port) for port in ports.caches])

    def evaluate(self, tokens: ListOf[int], past: Cache, stop: Stop) -> tuple[NDArray[np.float32], Cache]:
        """Compute `tokens`, at least one, after those of `past`, in one go.

        The logits are those after the last of them, in an array that may be written into. Raises `Interrupted` and
        `EngineError`; `past` is as it was.
        """
        length = past.length + len(tokens)
        inputs = {port.past: each for port, each in zip(self._ports.caches, past.tensors, strict=True)}
        inputs[IDS] = tensor(np.array([tokens], np.int64))
        optional = {
            MASK: lambda: np.ones((1, length), np.int64),
            POSITIONS: lambda: np.arange(past.length, length, dtype=np.int64)[None],
            KEEP: lambda: np.array(1, np.int64),
        }
        for name in self._ports.optional:
            inputs[name] = tensor(optional[name]())
        logits, *present = self._session.run(self._outputs, inputs, stop)
        rows: NDArray[Any] = array(logits)
        if rows.ndim != 3 or not rows.size:
            raise EngineError("the model gave no logits: its files may be damaged")
        return rows[0, -1].astype(np.float32), Cache(length, present)


def _nothing(port: CachePort) -> Tensor:
    return tensor(np.zeros((1, port.heads, 0, port.width), port.dtype))
