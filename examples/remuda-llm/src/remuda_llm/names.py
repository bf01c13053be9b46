"""From ids of `llm` to names of models. An id is nearly any text; a name has rules (Ollama API, "Names")."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["model_name"]

_LONGEST: Final = 80
_BAD: Final = re.compile(r"[^a-z0-9_.-]+")


def model_name(id: str, namespace: str = "") -> str:
    """The id in small letters, with "-" in place of what a name cannot have.

    What stands before the first "/" stays a namespace, what stands behind the last ":" a tag: `Anthropic/claude` is
    `anthropic/claude`. With a `namespace` of the caller's all of the id goes into the model's part.
    """
    rest, tag = id.lower(), ""
    if rest.rfind(":") > rest.rfind("/"):
        rest, _, tag = rest.rpartition(":")
    first, slash, model = rest.partition("/")
    if namespace or not slash:
        first, model = namespace.lower(), rest
    before = f"{_part(first).replace('.', '-')}/" if first else ""
    return f"{before}{_part(model)}:{_part(tag)}" if tag else f"{before}{_part(model)}"


def _part(text: str) -> str:
    return _BAD.sub("-", text).lstrip("-.")[:_LONGEST] or "model"
