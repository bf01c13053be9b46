"""A request for text, whatever dialect it came in: parsed, checked, with its model found."""

from __future__ import annotations

from msgspec import Struct, field

from ..model import ModelEntry
from ..wire import Options

__all__ = ["Job", "Message"]


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


class Job(Struct, frozen=True, kw_only=True):
    """What the dialects hand to the one flow."""

    request_id: str
    endpoint: str
    name: str
    """The model's name as the client typed it."""
    entry: ModelEntry
    options: Options
    ignored_options: tuple[str, ...] = ()
    keep_alive: float | None = None
    """Seconds; None leaves it as it is."""
    prompt: str | None = None
    """Text to continue as it is; then `messages` are not looked at."""
    messages: list[Message] = field(default_factory=list[Message])
    context: list[int] = field(default_factory=list[int])
    truncate: bool = True
    shift: bool = True
    want_context: bool = False
    load_only: bool = False
    """Load the model and be done."""
    render_only: bool = False
    """Load the model, render the prompt and be done."""
