"""A blocking engine hosted in a process of its own: framing, supervision, cancellation."""

from __future__ import annotations

from .backend import EngineBackend
from .model import RunnerModel

__all__ = ["EngineBackend", "RunnerModel"]
