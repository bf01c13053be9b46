"""Sequences while they are in the engine: prompts are read, tokens are written, and what was computed is used again.

Read `live` first: it is one sequence.
"""

from __future__ import annotations

__all__: list[str] = []
