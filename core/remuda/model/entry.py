"""A model that can be asked for: its name, where its weights lie, and what it brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from .manifest import ModelConfigFile
from .name import ModelName

__all__ = ["NO_WEIGHTS", "REMOTE", "ModelEntry", "Stored"]

NO_WEIGHTS: Final = Path()
"""The `ModelEntry.weights` of models that have no file here: their backend knows where they are."""

REMOTE: Final = "remote"
"""The `ModelEntry.format` of models that upstreams have, and the name of the backend that reaches them."""


class Stored(Struct, frozen=True, kw_only=True):
    """What a store knows of a model beside its files."""

    digest: str
    """64 hex digits: the SHA-256 of the manifest."""
    size: int
    """Bytes of all its blobs."""
    modified: float
    """POSIX time of the manifest."""
    config: ModelConfigFile
    parent: str = ""
    """The model that it was made from."""


class ModelEntry(Struct, frozen=True, kw_only=True):
    name: ModelName
    weights: Path
    """One file on this machine, or `NO_WEIGHTS`. Never shown to a client."""
    format: str = "gguf"
    """What kind of file it is; backends say which formats they take."""
    model_type: str | None = None
    """What kind of model a GGML file is, as somebody wrote it, where its header shall not decide."""
    backend: str | None = None
    """The backend that must serve it, when the model itself says so."""
    capabilities: tuple[str, ...] = ()
    """What it can do (Ollama API, "Capabilities"), where whoever offers it says so and its weights cannot."""
    context_length: int = 0
    """Tokens that it was trained for, where whoever offers it says so and its weights cannot; 0 is not known."""
    projector: Path | None = None
    """The weights that make images readable to the model: a second file."""
    adapters: tuple[Path, ...] = ()
    """LoRA weights to be applied to the model, in this order."""
    draft: Path | None = None
    """A smaller model with the same vocabulary, which guesses tokens ahead."""
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
    keep_alive: float | None = None
    """Seconds that it stays loaded where a request does not say, `math.inf` for ever; None is as the server has it."""
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    """The options as the model's author wrote them, unchecked: what is shown."""
    licenses: tuple[str, ...] = ()
    source: str = ""
    """Which plugin or setting offers it."""
    stored: Stored | None = None
    """None for a model outside the store, which cannot be changed there."""
    fault: str = ""
    """Why it can be listed but not used; empty if it can."""
