"""Weights that llama.cpp copies into another order, in which this machine's CPU multiplies faster.

The file stays mapped, so that both copies would be in memory. Nothing looks at the mapped one again: it can go.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from remuda.model.gguf import GGUFError, GGUFHeader, TensorPlace, read_header

__all__ = ["cpu_flags", "forget", "multiplied", "repacked"]

_X86: Final = {"Q4_0": 8, "Q4_K": 8, "IQ4_NL": 8, "MXFP4": 8}
_AMX: Final = dict.fromkeys(("F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"), 32)
_ARM: Final = {"Q4_0": 4, "Q8_0": 4, "IQ4_NL": 4, "MXFP4": 4, "Q4_K": 8, "Q5_K": 8, "Q6_K": 8}
"""Types of tensors, and what their number of rows must be a multiple of (llama.cpp, ggml-cpu)."""
_NEVER: Final = 2**64
_LOOKED_UP: Final = "token_embd.weight"
"""Its rows are taken one by one: it is only multiplied where it is the output matrix as well."""


def repacked(tensors: Sequence[TensorPlace]) -> list[TensorPlace]:
    """Those of a model's tensors that will be there twice."""
    rows = _rows()
    return [tensor for tensor in multiplied(tensors) if tensor.shape[1] % rows.get(tensor.type, _NEVER) == 0]


def multiplied(tensors: Sequence[TensorPlace]) -> list[TensorPlace]:
    """Those of a model's tensors that are matrices, and not only looked up."""
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    return [
        tensor
        for tensor in tensors
        if len(tensor.shape) > 1 and ((tied and tensor.name == _LOOKED_UP) or not tensor.name.endswith(_LOOKED_UP))
    ]


def forget(path: Path) -> None:
    """Let go of the mapped pages of `path` that were repacked, once it is loaded. Linux only; elsewhere, nothing.

    Right whatever is let go of: a page that is wanted after all comes back from the file. Never raises.
    """
    if sys.platform != "linux":
        return
    try:
        header, _ = read_header(path)
        maps = list(_maps(path))
    except (GGUFError, OSError):
        return
    advise: Any = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for first, last in _places(header):
        for begin, end, offset in maps:
            low, high = max(first, offset), min(last, offset + end - begin)
            if low < high:
                advise(begin + low - offset, high - low, mmap.MADV_DONTNEED)


def _maps(path: Path) -> Iterator[tuple[int, int, int]]:
    """Where `path` is mapped in this process: the first address, the one behind the last, the offset in the file."""
    name = os.path.realpath(path)
    for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
        place, _, offset, _, _, *named = line.split(maxsplit=5)
        if named == [name]:
            begin, _, end = place.partition("-")
            yield int(begin, 16), int(end, 16), int(offset, 16)


def _places(header: GGUFHeader) -> Iterator[tuple[int, int]]:
    """Whole pages of the file that hold repacked tensors and nothing else."""
    page, begin, end = mmap.PAGESIZE, 0, 0
    for tensor in sorted(repacked(header.tensor_list), key=lambda tensor: tensor.offset):
        first = header.data_offset + tensor.offset
        if first > end + header.alignment:
            yield -(-begin // page) * page, end // page * page
            begin = first
        end = max(end, first + tensor.size)
    yield -(-begin // page) * page, end // page * page


@functools.cache
def _rows() -> dict[str, int]:
    flags = cpu_flags()
    rows: dict[str, int] = {}
    if "avx2" in flags:
        rows |= _X86
    if "avx512f" in flags:
        rows["Q2_K"] = 8
    if "asimddp" in flags:
        rows |= _ARM
    return _AMX | rows if "amx_int8" in flags else rows


@functools.cache
def cpu_flags() -> frozenset[str]:
    """What the CPU can do, in the kernel's words."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return frozenset({"asimddp"})
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(found, "").split())
