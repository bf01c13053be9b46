"""Making a prompt fit its context (Ollama API, "Truncation and context shift")."""

from __future__ import annotations

from ..errors import PromptTooLong

__all__ = ["cut_prompt", "kept_tokens"]


def kept_tokens(num_keep: int, prompt: int, limit: int, bos: bool) -> int:
    """How many tokens at the front survive a cut or a shift: `num_keep`, one more for a leading BOS; -1 is all.

    Never so many that nothing could be forgotten.
    """
    keep = prompt if num_keep < 0 else num_keep + bos
    return max(0, min(keep, prompt, limit - 4))


def cut_prompt(tokens: list[int], limit: int, keep: int, *, truncate: bool) -> tuple[list[int], int]:
    """`tokens` cut to leave room in a sequence of `limit`, and how many were dropped.

    A prompt fits up to `limit - 1` tokens, so that at least one can be generated. A longer one keeps its first
    `keep` tokens and its end, with half of what is between left free for the answer. Without `truncate` a longer
    prompt raises `PromptTooLong`.
    """
    room = limit - 1
    if len(tokens) <= room:
        return tokens, 0
    if not truncate:
        raise PromptTooLong(len(tokens), room)
    keep = min(keep, room - 1)
    length = limit - max((limit - keep) // 2, 1)
    tail = length - keep
    return tokens[:keep] + tokens[len(tokens) - tail :], len(tokens) - length
