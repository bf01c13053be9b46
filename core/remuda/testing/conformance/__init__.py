"""What every engine and every backend must do, as tests to be inherited.

A plugin's tests subclass `EngineConformance` or `BackendConformance`, say what is to be tried, and get a test for each
promise of `remuda.engine` or `remuda.backend`. Nothing here is about one engine: a test asks only for what those
modules say, and its docstring tells which promise it is about.
"""

from __future__ import annotations

import pytest

# Before any of them is imported: a failing test then says what it saw, as one in a file of tests does.
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in ("backend", "engine", "skips")))

from .backend import BackendConformance  # noqa: E402
from .engine import EngineConformance  # noqa: E402

__all__ = ["BackendConformance", "EngineConformance"]
