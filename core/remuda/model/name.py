"""Model names: `[scheme://][host/][namespace/]model[:tag]` (Ollama API, "Names").

A name is parsed once, where it enters; nothing else in Remuda splits a name. Names keep the case they were written
in and compare without it.
"""

from __future__ import annotations

import re

from msgspec import Struct

from ..errors import BadRequest

__all__ = ["DEFAULT_HOST", "DEFAULT_NAMESPACE", "DEFAULT_TAG", "ModelName", "parse_name"]

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_LONGEST = 1024


class ModelName(Struct, frozen=True):
    """A complete, valid name."""

    model: str
    tag: str = DEFAULT_TAG
    namespace: str = DEFAULT_NAMESPACE
    host: str = DEFAULT_HOST

    @property
    def full(self) -> str:
        """Every part written out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """What two spellings of one name have in common."""
        return self.full.lower()

    def __str__(self) -> str:
        """The shortest form that says it all; the tag is always there."""
        parts = [self.model]
        if self.host.lower() != DEFAULT_HOST:
            parts = [self.host, self.namespace, self.model]
        elif self.namespace.lower() != DEFAULT_NAMESPACE:
            parts = [self.namespace, self.model]
        return f"{'/'.join(parts)}:{self.tag}"


def parse_name(text: str) -> ModelName:
    """Raises `BadRequest`: `model is required` for an empty name, `invalid model name` for any other fault."""
    if not text.strip():
        raise BadRequest("model is required")
    if len(text) > _LONGEST:
        raise BadRequest("invalid model name")
    rest = text.strip()
    tag = DEFAULT_TAG
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        rest, tag = rest[:colon], rest[colon + 1 :]
    rest, model = _split(rest)
    rest, namespace = _split(rest) if rest is not None else (None, DEFAULT_NAMESPACE)
    host = DEFAULT_HOST if rest is None else rest.rpartition("://")[2]
    patterns = ((_PART, model), (_PART, tag), (_NAMESPACE, namespace), (_HOST, host))
    if not all(pattern.fullmatch(part) for pattern, part in patterns):
        raise BadRequest("invalid model name")
    return ModelName(model=model, tag=tag, namespace=namespace, host=host)


def _split(text: str) -> tuple[str | None, str]:
    head, slash, tail = text.rpartition("/")
    return (head if slash else None), tail
