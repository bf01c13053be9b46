"""A model's weights in another form: quantised, rewritten so that they are faster, or in the order that suits the CPU.

Read `slow` first: it says what is slow, and why.
"""

from __future__ import annotations

__all__: list[str] = []
