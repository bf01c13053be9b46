"""Which models are loaded, for how long, and who waits."""

from __future__ import annotations

from .herd import Herd
from .resident import Resident

__all__ = ["Herd", "Resident"]
