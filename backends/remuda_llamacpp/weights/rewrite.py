"""llama.cpp's quantiser in this process: weights written anew in another precision.

How far it is, is read from its log, which names each tensor when its turn comes. llama.cpp gives up the whole process
over some of what may be wrong with weights, so this is for child processes only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from remuda.errors import LoadFailed
from remuda.model.gguf import TensorPlace, check_gguf
from remuda.model.gguf.layout import by_name

from .. import _native, log

__all__ = ["rewrite"]

_TENSOR: Final = re.compile(rb"\[\s*\d+/\s*\d+\]\s+(\S+)")
_MOST_STAYING: Final = 256
"""llama.cpp compares the name of each tensor with each of these."""


class _Meter:
    """Tells at each tensor how much is done before it."""

    def __init__(self, tell: Callable[[int, int], None], sizes: dict[bytes, int]) -> None:
        self._tell, self._sizes = tell, sizes
        self.total = sum(sizes.values())
        self._completed = self._current = 0

    def __call__(self, line: bytes) -> None:
        found = _TENSOR.search(line)
        if found is not None:
            self._completed += self._current
            self._current = self._sizes.pop(found[1], 0)
            self._tell(self._completed, self.total)


def rewrite(
    source: Path,
    target: Path,
    kind: str,
    threads: int,
    tell: Callable[[int, int], None],
    staying: Sequence[TensorPlace] | None = None,
) -> int:
    """Write `source` as `target`, in the precision `kind` (`_native.QUANTIZED`). The size of all tensors of `source`.

    `tell` hears how many bytes of them are done, of how many in all. Weights that are quantised already are refused,
    unless `staying` says which of all tensors are to be as they were. Raises `LoadFailed`; what is at `target` then is
    of no use.
    """
    header = check_gguf(source)
    meter = _Meter(tell, {tensor.name.encode(): tensor.size for tensor in header.tensor_list})
    log.install(meter)
    _native.backend_init()
    paths = os.fsencode(source), os.fsencode(target)
    types = None if staying is None else _types(staying)
    if not _native.quantize(*paths, _native.QUANTIZED[kind], threads, types):
        raise LoadFailed(log.last_error() or "llama.cpp refused them")
    return meter.total


def _types(staying: Sequence[TensorPlace]) -> dict[bytes, int]:
    """Their numbers by regular expressions."""
    if len(staying) > _MOST_STAYING:
        raise LoadFailed(f"more than {_MOST_STAYING} of their tensors would have to stay as they are")
    types = {tensor.name: by_name(tensor.type) for tensor in staying}
    return {f"^{re.escape(name)}$".encode(): type.number for name, type in types.items() if type is not None}
