"""What every engine and every backend must do, as tests to be inherited.

A plugin's tests subclass `EngineConformance` or `BackendConformance`, say what is to be tried, and get a test for each
promise of `remuda.engine` or `remuda.backend`. Nothing here is about one engine: a test asks only for what those
modules say, and its docstring tells which promise it is about.
"""

from __future__ import annotations

from .backend import BackendConformance
from .engine import EngineConformance

__all__ = ["BackendConformance", "EngineConformance"]
