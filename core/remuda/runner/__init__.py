"""A blocking engine hosted in a process of its own: framing, supervision, cancellation."""

from __future__ import annotations

from .backend import EngineBackend, on_load_progress
from .model import RunnerModel

__all__ = ["EngineBackend", "RunnerModel", "on_load_progress"]
