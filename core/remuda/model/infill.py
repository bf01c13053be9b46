"""The tokens by which a model is told of a text with a hole, as llama.cpp finds them: by key, else by their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["INFILL_KEYS", "INFILL_TEXTS", "infill_tokens"]

_KEYS: Final = (
    ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"),
    ("tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"),
    ("tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"),
)
_TEXTS: Final = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)

INFILL_KEYS: Final = tuple(key for keys in _KEYS for key in keys)
"""Metadata keys that hold the ids, the present ones and the older ones."""
INFILL_TEXTS: Final = tuple(text for texts in _TEXTS for text in texts)
"""What the tokens are called in files that have no such keys."""


def infill_tokens(found: Mapping[str, str]) -> tuple[str, str, str] | None:
    """What to write before the text, before what follows the hole, and before the answer; None without such tokens.

    `found` maps keys, and texts that are tokens, to the texts of tokens.
    """
    by_key = [next((found[key] for key in keys if found.get(key)), "") for keys in _KEYS]
    if all(by_key):
        return by_key[0], by_key[1], by_key[2]
    return next((texts for texts in _TEXTS if all(text in found for text in texts)), None)
