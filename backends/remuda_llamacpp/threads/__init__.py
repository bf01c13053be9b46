"""How many compute threads a step uses, chosen from what steps took. Read `control` first: each step asks it."""

from __future__ import annotations

__all__: list[str] = []
