"""Template engines: what turns messages into a prompt."""

from __future__ import annotations

__all__: list[str] = []
