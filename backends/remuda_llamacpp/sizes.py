"""How many tokens go into one decode. Known without llama.cpp: what a load needs is told before its process starts."""

from __future__ import annotations

from typing import Final

from remuda.wire.options import Options

__all__ = [
    "DRAFT_MOST",
    "DRAFT_STRETCH",
    "EMBED_MOST",
    "EMBED_ROOM",
    "EMBED_ROOM_GPU",
    "STRETCH",
    "STRETCH_GPU",
    "model_guesses",
]

STRETCH: Final = 128
STRETCH_GPU: Final = 512
"""Prompt tokens read in one step unless `num_batch` says otherwise.

Running streams wait for it. On a CPU 128 reads as fast as 512 within 6 %, whatever the weights' type.
"""
DRAFT_MOST: Final = 16
"""Guessed tokens that are decoded together."""
_MODEL_GUESSES: Final = 4
"""Those of a draft model, where `draft_num_predict` does not say."""
DRAFT_STRETCH: Final = 64
"""Tokens that a draft model reads in one step: the stream waits for them."""
EMBED_MOST: Final = 64
"""Texts in one micro-batch. llama.cpp takes at most 256 sequences, and no more than there are places for tokens."""
EMBED_ROOM: Final = 256
EMBED_ROOM_GPU: Final = 2048
"""Tokens that several texts may have in one micro-batch, unless `num_batch` says otherwise.

On a CPU, attention is computed between all tokens of a micro-batch, also where they are of different texts. Measured
with all-MiniLM-L6-v2 (F16, two cores), tokens a second, for texts of 3, 12, 60 and 245 tokens:

    one at a time   3,400   2,900   4,100   4,100
    128             5,600   4,700   4,300   4,100
    256             5,700   4,800   4,500   4,300
    512             5,700   4,700   3,900   4,150
"""


def model_guesses(options: Options) -> int:
    """Tokens that a draft model guesses at a time, at most; 0 where it is not wanted."""
    asked = options.draft_num_predict
    return _MODEL_GUESSES if asked is None else min(asked, DRAFT_MOST)
