"""Templates for well-known families of models, and the chat templates by which such a model is recognised.

Weights of these families carry a published Jinja chat template, often with small changes. Whoever wants to edit the
prompt, or wants to know what the model writes when it is done, gets a Go template and the strings to stop at (Ollama
API, "Built-in template auto-match").
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from .distance import distance
from .marks import MARKS, SIGNS
from .templates import STOPS, TEMPLATES

__all__ = ["Known", "match_known"]

_LIMIT: Final = 100
"""Characters that a published template may differ by."""


class Known(Struct, frozen=True):
    """A family: its name, its Go template, and the strings that end its answers."""

    name: str
    template: str
    stops: tuple[str, ...]


def match_known(jinja: str) -> Known | None:
    """The family whose published chat template is nearest to `jinja`; None if none is near.

    Short templates are near each other whatever they say, so the family's sign has to be in the text as well.
    """
    found, least = "", _LIMIT
    for mark, name in MARKS:
        edits = distance(mark, jinja, least) if SIGNS[name] in jinja else least
        if edits < least:
            found, least = name, edits
    return Known(found, TEMPLATES[found], STOPS[found]) if found else None
