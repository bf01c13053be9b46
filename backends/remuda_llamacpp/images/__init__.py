"""Images in prompts: from a file to rows of a batch. Read `media` first."""

from __future__ import annotations

__all__: list[str] = []
