"""The two names of a model, the client's and the upstream's, where sentences hold them."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["called", "said_here"]


def called(typed: str, there: str) -> str:
    """What to call the model that the upstream knows as `there`: as the client does, if that differs by no more than
    the usual tag. Of other spellings of the name it may know nothing."""
    return typed if typed in {there, there.removesuffix(":latest")} else there


def said_here(text: str, there: str, here: str) -> str:
    """`text` of an upstream with the client's name for the model in the place of the upstream's."""
    if there == here:
        return text
    return _written(there).sub(lambda _: here, text)


@lru_cache(1024)
def _written(there: str) -> re.Pattern[str]:
    """The name as it stands in a sentence; it may be the end of a longer one, with its registry."""
    return re.compile(rf"(?<![\w.:-]){re.escape(there)}(?::latest)?(?![\w:/-]|\.\w)")
