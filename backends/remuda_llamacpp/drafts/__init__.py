"""Speculative decoding: guesses at a text's next tokens, from the text itself or by a draft model; whether they pay.

Read `drafting` first: the others give it guesses, or say how many are worth it.
"""

from __future__ import annotations

__all__: list[str] = []
