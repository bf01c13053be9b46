"""From logits to what a text says next: options, constraints and log probabilities.

Read `choice` first: it puts them together.
"""

from __future__ import annotations

__all__: list[str] = []
