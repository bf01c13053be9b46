"""Output formats: what an answer can be made to match."""

from __future__ import annotations

__all__: list[str] = []
