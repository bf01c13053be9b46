"""`X:local` and `X:cloud`: where a model shall come from, said in its name (Ollama API, "Which names can be used")."""

from __future__ import annotations

import re
from typing import Final

from ..errors import BadRequest, Forbidden

__all__ = ["without_source"]

_SOURCE: Final = re.compile(r"(?P<base>.+?)(?::(?P<source>local|cloud)|-(?P<tagged>cloud))", re.IGNORECASE | re.DOTALL)


def without_source(name: str) -> str:
    """`name` without its `:local`.

    Raises `BadRequest` for two sources and `Forbidden` for the cloud (`X:cloud`, `X:tag-cloud`), which this server
    does not reach.
    """
    text = name.strip()
    found = _SOURCE.fullmatch(text)
    if found is None or (found["tagged"] and ":" not in found["base"]):
        return text
    base = found["base"]
    again = _SOURCE.fullmatch(base)
    if again is not None and again["source"]:
        raise BadRequest(f'use either :local or :cloud, not both: "{text}"')
    if (found["source"] or found["tagged"]).lower() == "cloud":
        raise Forbidden("ollama cloud is disabled: remote model is unavailable")
    return base
