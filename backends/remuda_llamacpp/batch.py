"""The one batch that every decode reuses: arrays of our own, written whole slices at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as ListOf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native

__all__ = ["Batch"]

_SECTIONS = 4
"""Numbers that say where an embedding stands, at most: M-RoPE's."""


class Batch:
    """Room for `capacity` tokens. Rows of the arrays: token, position, sequence, whether logits are wanted."""

    def __init__(self, capacity: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity * _SECTIONS, np.int32)
        self._slots = np.zeros(capacity, np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        # Each token names its sequences through a count and a pointer: always one, at a fixed place.
        self._counts = np.ones(capacity, np.int32)
        self._pointers = (self._slots.ctypes.data + np.arange(capacity) * self._slots.itemsize).astype(np.uintp)
        self._numbers = np.arange(capacity, dtype=np.int32)
        self.native: Any = _native.batch_type()
        self._rows: Any = _native.batch_type()
        """Of embeddings: has no tokens."""
        fields = {
            "pos": self._positions,
            "n_seq_id": self._counts,
            "seq_id": self._pointers,
            "logits": self._outputs,
        }
        self._types: dict[str, Any] = dict(self.native._fields_)
        self._point(self.native, "token", self._tokens)
        for name, array in fields.items():
            self._point(self.native, name, array)
            self._point(self._rows, name, array)

    def _point(self, batch: Any, name: str, array: NDArray[Any]) -> None:
        setattr(batch, name, ctypes.cast(array.ctypes.data, self._types[name]))

    def next_tokens(self, tokens: ListOf[int], positions: ListOf[int], slots: ListOf[int]) -> _native.Batch:
        """One token for each of several sequences, all with logits. Row `i` is the `i`-th one's."""
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._slots[:count] = slots
        self._outputs[:count] = 1
        self.native.n_tokens = count
        return self.native

    def prompt(self, tokens: NDArray[np.int32], position: int, slot: int, *, last: bool) -> _native.Batch:
        """A stretch of one prompt from `position` on; its last row has logits if `last`."""
        count = len(tokens)
        self._tokens[:count] = tokens
        np.add(self._numbers[:count], position, out=self._positions[:count])
        self._slots[:count] = slot
        self._outputs[:count] = 0
        self._outputs[count - 1] = last
        self.native.n_tokens = count
        return self.native

    def texts(self, texts: ListOf[ListOf[int]]) -> _native.Batch:
        """Whole texts, one in each sequence from 0 on; every row is wanted, to be pooled."""
        begin = 0
        for slot, tokens in enumerate(texts):
            end = begin + len(tokens)
            self._tokens[begin:end] = tokens
            self._positions[begin:end] = self._numbers[: end - begin]
            self._slots[begin:end] = slot
            begin = end
        self._outputs[:begin] = 1
        self.native.n_tokens = begin
        return self.native

    def embeddings(
        self, values: NDArray[np.float32], positions: NDArray[np.int32], slot: int, *, last: bool
    ) -> _native.Batch:
        """As `prompt`, of an image's embeddings: a row of `values` for each, and a column of `positions`.

        `values` must live until it is decoded.
        """
        count = len(values)
        self._point(self._rows, "embd", values)
        self._positions[: positions.size] = positions.reshape(-1)
        self._slots[:count] = slot
        self._outputs[:count] = 0
        self._outputs[count - 1] = last
        self._rows.n_tokens = count
        return self._rows
