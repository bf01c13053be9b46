"""Output parsers: what in an answer is thinking, and what is a call of a tool."""

from __future__ import annotations

__all__: list[str] = []
