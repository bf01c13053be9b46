"""What servers answer, as far as the commands look at it. Other servers leave things out, or write null for them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct, field

__all__ = [
    "Embedded",
    "InMemory",
    "Listed",
    "Piece",
    "Progress",
    "Queued",
    "Running",
    "Said",
    "Shown",
    "ShownDetails",
    "ShownTensor",
]


class Listed(Struct):
    """A model of `/api/tags`."""

    name: str
    digest: str = ""
    size: int = 0
    modified_at: str = "0001-01-01T00:00:00Z"
    remote_host: str = ""
    upstreams: list[str] | None = None
    """Where it is, if not at the server itself."""


class Running(Struct):
    """A model of `/api/ps`."""

    name: str
    digest: str = ""
    size: int = 0
    size_vram: int = 0
    context_length: int = 0
    expires_at: str = "0001-01-01T00:00:00Z"
    state: str = ""
    upstream: str = ""
    """As with `Listed`."""


class Queued(Struct):
    """A request that waits, for so many seconds."""

    model: str
    seconds: float = 0.0


class InMemory(Struct):
    """The reply of `/api/ps`."""

    models: list[Running] = field(default_factory=list[Running])
    queue: list[Queued] = field(default_factory=list[Queued])


class Said(Struct):
    """The message in a line of `/api/chat`. Some servers write null for an empty text."""

    content: str | None = None
    thinking: str | None = None


class Piece(Struct):
    """A line of `/api/generate` or of `/api/chat`. Durations in nanoseconds.

    One with a `status` comes before the answer and tells of the wait for it; `total` and `completed` are bytes.
    """

    response: str | None = None
    thinking: str | None = None
    message: Said | None = None
    done: bool = False
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    error: str | None = None
    status: str = ""
    total: int = 0
    completed: int = 0
    position: int = 0

    @property
    def text(self) -> str:
        """What the model says, without what it thinks."""
        return (self.message.content if self.message else self.response) or ""

    @property
    def thought(self) -> str:
        return (self.message.thinking if self.message else self.thinking) or ""


class Progress(Struct):
    """A line of `/api/pull`, `/api/push` or `/api/create`: a transfer of `total` bytes if it has a `digest`."""

    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0
    error: str | None = None
    upstream: str = ""
    """Where it is done, if not at the server itself."""


class ShownDetails(Struct):
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""


class ShownTensor(Struct):
    name: str
    type: str = ""
    shape: list[int] = field(default_factory=list[int])


class Shown(Struct):
    """The reply of `/api/show`."""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: ShownDetails | None = None
    model_info: dict[str, Any] | None = None
    projector_info: dict[str, Any] | None = None
    tensors: list[ShownTensor] | None = None
    capabilities: list[str] | None = None
    remote_model: str = ""
    remote_host: str = ""
    requires: str = ""


class Embedded(Struct):
    """The reply of `/api/embed`: each vector as the server wrote it, with no digit more."""

    embeddings: list[Raw] = field(default_factory=list[Raw])
