"""ONNX Runtime: the only module that names it, and where its errors become Remuda's.

It brings no types along; what leaves here has them. A tensor stays in the library's own memory from one run to the
next: a cache that went through numpy would be copied once more at every token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence as ListOf
from pathlib import Path
from typing import Any, Final, NewType, cast

import numpy as np
import onnxruntime as _ort  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from remuda.errors import EngineError, LoadFailed, OutOfMemory, RemudaError, without_paths

__all__ = ["Interrupted", "Session", "Stop", "Tensor", "array", "tensor"]

Tensor = NewType("Tensor", object)
"""The library's `OrtValue`. To be treated as one that never changes: several texts may hold it."""

_library: Any = cast(Any, _ort)
_FATAL: Final = 4
"""The level of messages that are written to stderr: what can be caught is raised as well, and told there."""
_NO_MEMORY: Final = ("bad_alloc", "bad allocation", "Failed to allocate", "out of memory")
_LONGEST: Final = 300

_library.set_default_logger_severity(_FATAL)


class Interrupted(Exception):
    """A run was ended by its `Stop`."""


class Stop:
    """Ends the runs that it is given to. `set` may be called from any thread, and counts for ever."""

    def __init__(self) -> None:
        self.options: Any = _library.RunOptions()
        self.options.log_severity_level = _FATAL

    def set(self) -> None:
        self.options.terminate = True

    @property
    def is_set(self) -> bool:
        return bool(self.options.terminate)


class Session:
    """A loaded graph."""

    def __init__(self, path: Path, threads: int) -> None:
        """Blocking. Raises `LoadFailed`."""
        options: Any = _library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _FATAL
        # Threads that wait for work by asking again and again take the core from the server and from each other.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What a text needs grows with every token: plans for one size are of no use, and an arena keeps the largest.
        options.enable_mem_pattern = options.enable_cpu_mem_arena = False
        try:
            self._session: Any = _library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's own share no base
            raise _translated(error, LoadFailed, f"ONNX Runtime refuses {path.name}") from None

    def run(self, outputs: ListOf[str], inputs: Mapping[str, Tensor], stop: Stop) -> list[Tensor]:
        """The tensors of `outputs`. Raises `Interrupted` soon after `stop` is set, and `EngineError`."""
        try:
            found: list[Tensor] = self._session.run_with_ort_values(outputs, inputs, stop.options)
        except Exception as error:
            if stop.is_set:
                raise Interrupted from None
            raise _translated(error, EngineError, "ONNX Runtime could not compute the next token") from None
        return found


def tensor(values: NDArray[Any]) -> Tensor:
    """`values` as a tensor. They must not change afterwards: it looks at their memory."""
    return Tensor(_library.OrtValue.ortvalue_from_numpy(np.asarray(values, order="C")))


def array(value: Tensor) -> NDArray[Any]:
    """A copy."""
    return cast(Any, value).numpy()


def _translated(error: Exception, kind: type[EngineError], what: str) -> RemudaError:
    told = " ".join(without_paths(str(error)).split())[:_LONGEST]
    if isinstance(error, MemoryError) or any(sign in told for sign in _NO_MEMORY):
        return OutOfMemory(f"{what}: there is not enough memory")
    return kind(f"{what}: {told}")
