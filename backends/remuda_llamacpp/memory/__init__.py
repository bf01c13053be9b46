"""What a model will hold in memory, told before it is loaded. Read `estimate` first."""

from __future__ import annotations

__all__: list[str] = []
