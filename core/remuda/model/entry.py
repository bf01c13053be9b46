"""A model that can be asked for: its name, where its weights lie, and what it brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct, field

from .name import ModelName

__all__ = ["ModelEntry"]


class ModelEntry(Struct, frozen=True, kw_only=True):
    name: ModelName
    weights: Path
    """One file on this machine. Never shown to a client."""
    format: str = "gguf"
    """What kind of file it is; backends say which formats they take."""
    backend: str | None = None
    """The backend that must serve it, when the model itself says so."""
    projector: Path | None = None
    """The weights that make images readable to the model: a second file."""
    template: str | None = None
    """A prompt template beside the one in the weights, for the engine `template_engine`."""
    template_engine: str | None = None
    """The template engine that must be used; None is `go` for `template` and `jinja` for the one in the weights."""
    parser: str | None = None
    """The output parser that must be used."""
    system: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    """A conversation, as role and content, that every chat with this model begins with."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Checked options (`remuda.wire.parse_options`) that lie between the defaults and the request's."""
    source: str = ""
    """Which plugin or setting offers it."""
