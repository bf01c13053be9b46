"""The child process that tells which GPUs llama.cpp sees: the free bytes of each, as JSON on stdout.

    python -P -m remuda_llamacpp._devices PARENT

A process of its own, because a GPU's driver takes memory and threads, and may hang. Functions and numbers are those of
`ggml-backend.h`; that a library which libllama depends on has them is no matter.
"""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from typing import Any, Final

import msgspec

from remuda.runner.confine import die_with_parent

__all__ = ["main"]

_GPU, _INTEGRATED = 1, 2
_MOST: Final = 256


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    try:
        llama: Any = import_module("llama_cpp.llama_cpp")
    except ImportError:
        free: list[int] = []
    else:
        llama.llama_backend_init()
        free = _free(llama._lib)
    sys.stdout.write(msgspec.json.encode(free).decode())


def _free(library: Any) -> list[int]:
    """Of GPUs with a memory of their own, or else of those that share the system's, which llama.cpp takes then."""
    count, device_at = library.ggml_backend_dev_count, library.ggml_backend_dev_get
    kind_of, memory_of = library.ggml_backend_dev_type, library.ggml_backend_dev_memory
    count.restype, device_at.restype = ctypes.c_size_t, ctypes.c_void_p
    device_at.argtypes, kind_of.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    memory_of.argtypes, memory_of.restype = [ctypes.c_void_p] + 2 * [ctypes.POINTER(ctypes.c_size_t)], None
    found: dict[int, list[int]] = {_GPU: [], _INTEGRATED: []}
    for index in range(min(count(), _MOST)):
        device = device_at(index)
        sizes = found.get(kind_of(device))
        if sizes is not None:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            memory_of(device, ctypes.byref(free), ctypes.byref(total))
            sizes.append(free.value)
    return found[_GPU] or found[_INTEGRATED]


if __name__ == "__main__":
    main()
