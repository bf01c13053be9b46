"""The native library of ctransformers 0.2.27, bound by hand: the only module that knows it.

The wheel brings one library for each kind of processor. The Python package around them is left aside: it is not
imported, as it wants a client for downloads and starts programs to look at the processor; its buffer for tokens is too
small for texts with characters of several bytes; and its sampler seeds itself anew for each token.

What the library does not check is checked by whoever calls it: it reads what lies outside a vocabulary, a context or
a file, and it asserts, which ends the process, that texts are UTF-8.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence as ListOf
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from remuda.errors import LoadFailed

__all__ = ["LIBRARIES", "Library", "Native"]

LIBRARIES: Final = ("auto", "avx2", "avx", "basic", "cuda", "local")
"""Kinds of libraries: "auto" is the best one for this processor; "local" is one that was built on this machine."""

_GROWS: Final = 3
"""Tokens that a byte may become: Replit's splitter makes three bytes of a space."""
_NAMES: Final = {"linux": "libctransformers.so", "darwin": "libctransformers.dylib", "win32": "ctransformers.dll"}


class _Config(ctypes.Structure):
    _fields_ = (
        ("context_length", ctypes.c_int),
        ("gpu_layers", ctypes.c_int),
        ("mmap", ctypes.c_bool),
        ("mlock", ctypes.c_bool),
    )


_int, _bool, _text, _handle = ctypes.c_int, ctypes.c_bool, ctypes.c_char_p, ctypes.c_void_p
_ints, _floats = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_float)
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    "create": (_handle, _text, _text, _Config),
    "delete": (None, _handle),
    "tokenize": (_int, _handle, _text, _bool, _ints),
    "is_eos_token": (_bool, _handle, _int),
    "bos_token_id": (_int, _handle),
    "context_length": (_int, _handle),
    "batch_eval": (_bool, _handle, _ints, _int, _int, _int, _int),
    "logits_data": (_floats, _handle),
    "logits_size": (_int, _handle),
    "embeddings_data": (_floats, _handle),
    "embeddings_size": (_int, _handle),
}
"""What each returns and takes; all names begin with `ctransformers_llm_`."""


class Library:
    """The library, loaded: `kind` is one of `LIBRARIES`. Raises `ModuleNotFoundError` and `LoadFailed`."""

    def __init__(self, kind: str = "auto") -> None:
        path = _find(kind)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise LoadFailed(f"the library {path.parent.name!r} of ctransformers cannot be loaded: {error}") from None
        self._functions = {name: _bound(library, name, *types) for name, types in _FUNCTIONS.items()}

    def __getitem__(self, name: str) -> Any:
        return self._functions[name]


class Native:
    """One model with one context, which holds one text. Tokens may be looked up from any thread."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library, self._handle = library, handle
        self.context = int(library["context_length"](handle))
        """Tokens that it holds."""

    @classmethod
    def open(
        cls, library: Library, path: Path, model_type: str, *, context: int, gpu_layers: int, mmap: bool
    ) -> Native | None:
        """None if the library refuses; it may also end the process. `context` counts for some types only."""
        config = _Config(context, gpu_layers, mmap, False)
        handle = library["create"](str(path).encode(), model_type.encode(), config)
        return cls(library, handle) if handle else None

    def close(self) -> None:
        self._library["delete"](self._handle)

    def tokenize(self, data: bytes) -> list[int]:
        """`data` is UTF-8 without zeros."""
        tokens = (ctypes.c_int * (_GROWS * len(data) + 8))()
        count = self._library["tokenize"](self._handle, data, False, tokens)
        return tokens[:count]

    def ends(self, token: int) -> bool:
        """Whether `token`, which is in the vocabulary, ends a text."""
        return bool(self._library["is_eos_token"](self._handle, token))

    def beginning(self) -> int:
        """The token that begins a text; of no meaning for types that have none."""
        return int(self._library["bos_token_id"](self._handle))

    def evaluate(self, tokens: ListOf[int], past: int, threads: int) -> bool:
        """Compute `tokens` after the first `past` ones, in one go. What was behind those is forgotten.

        False if it went wrong. `past` and `tokens` fit into the context.
        """
        count = len(tokens)
        row = (ctypes.c_int * count)(*tokens)
        return bool(self._library["batch_eval"](self._handle, row, count, past, count, threads))

    def logits(self) -> NDArray[np.float32]:
        """Those after the last token, in place: valid, and to be changed, until the next one."""
        return self._row("logits")

    def embedding(self) -> NDArray[np.float32]:
        """The last layer's state of the last token, in place; empty for types that give none."""
        return self._row("embeddings")

    def _row(self, name: str) -> NDArray[np.float32]:
        size = int(self._library[f"{name}_size"](self._handle))
        if size <= 0:
            return np.zeros(0, np.float32)
        first = self._library[f"{name}_data"](self._handle)
        values: Any = (ctypes.c_float * size).from_address(ctypes.addressof(first.contents))
        return np.frombuffer(values, np.float32)


def _bound(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, f"ctransformers_llm_{name}")
    function.restype, function.argtypes = result, arguments
    return function


def _find(kind: str) -> Path:
    spec = find_spec("ctransformers")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'ctransformers'")
    folder = Path(spec.origin).parent / "lib"
    wanted = _kinds(folder) if kind == "auto" else (kind,)
    for each in wanted:
        path = folder / each / _NAMES.get(sys.platform, "")
        if path.is_file():
            return path
    known = ", ".join(sorted(path.name for path in folder.glob("*"))) or "none"
    raise LoadFailed(f"ctransformers has no library {' or '.join(wanted)!r} for this system; it has: {known}")


def _kinds(folder: Path) -> tuple[str, ...]:
    """Those that this processor can run, the best one first."""
    if (folder / "local").is_dir():
        return ("local",)
    flags = _processor()
    if "avx2" in flags:
        return ("avx2", "avx", "basic")
    return ("avx", "basic") if {"avx", "f16c"} <= flags else ("basic",)


def _processor() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux: whatever runs everywhere
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
