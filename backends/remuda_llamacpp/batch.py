"""The one batch that every decode reuses: arrays of our own, written whole slices at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as ListOf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native

__all__ = ["Batch"]


class Batch:
    """Room for `capacity` tokens. Rows of the arrays: token, position, sequence, whether logits are wanted."""

    def __init__(self, capacity: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._slots = np.zeros(capacity, np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        # Each token names its sequences through a count and a pointer: always one, at a fixed place.
        self._counts = np.ones(capacity, np.int32)
        self._pointers = (self._slots.ctypes.data + np.arange(capacity) * self._slots.itemsize).astype(np.uintp)
        self._numbers = np.arange(capacity, dtype=np.int32)
        self.native: Any = _native.batch_type()
        fields = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": self._counts,
            "seq_id": self._pointers,
            "logits": self._outputs,
        }
        types: dict[str, Any] = dict(self.native._fields_)
        for name, array in fields.items():
            setattr(self.native, name, ctypes.cast(array.ctypes.data, types[name]))

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
