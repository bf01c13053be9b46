"""A request for text, whatever dialect it came in, and the events that answer it.

Dialects make a `Job` and read `Event`s; filters (`remuda_register_filters`) stand between the two.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, field

from .backend import Done
from .model import ModelEntry
from .output import Text, Thinking, ToolCall
from .wire import Options, Tool

__all__ = ["NOBODY", "Client", "Event", "Finished", "Job", "Loaded", "Message", "Rendered", "ToolCalls", "Waiting"]


class Client(Struct, frozen=True):
    """Who asks, for queues that are fair. Neither part is ever shown, logged or checked."""

    address: str = ""
    key: str = ""
    """A fingerprint of the key that came with the request; empty if none did."""


NOBODY: Final = Client()
"""A client of whom nothing is known, or the server itself."""


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    """Files, checked for kind and size."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class Job(Struct, frozen=True, kw_only=True):
    """What the dialects hand to the one flow."""

    request_id: str
    endpoint: str
    name: str
    """The model's name as the client typed it."""
    client: Client = NOBODY
    upstreams: tuple[str, ...] = ()
    """Upstreams, by name, that the request wants to be served by; none named is any that may."""
    progress: bool = False
    """Tell how long the wait is, too, with `Waiting` events before the answer."""
    entry: ModelEntry
    options: Options
    given: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the options, those that the request itself gave, checked."""
    ignored_options: tuple[str, ...] = ()
    keep_alive: float | None = None
    """Seconds; None leaves it as it is."""
    prompt: str | None = None
    """Text to continue as it is; then `messages` are only looked at for their images."""
    suffix: str = ""
    """Text that stands after the answer; what stands before it is the content of the last message."""
    template: str = ""
    """A Go template that replaces the model's own."""
    messages: list[Message] = field(default_factory=list[Message])
    context: list[int] = field(default_factory=list[int])
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """None leaves it to the model, "" demands some tool of `tools`, a name demands that one."""
    think: bool | str | None = None
    """Whether, or how hard, to think; None is as the model would have it."""
    format: Any = None
    """What the answer must match, as the client sent it; None is anything."""
    logprobs: int | None = None
    """How many of the likeliest tokens to tell with each token; None tells no log probabilities."""
    truncate: bool = True
    shift: bool | None = None
    """At the end of the context, forget older text and go on; None is as the model would have it."""
    want_context: bool = False
    load_only: bool = False
    """Load the model and be done."""
    render_only: bool = False
    """Load the model, render the prompt and be done."""

    @property
    def unload(self) -> bool:
        """Nothing to say and a keep_alive of zero: the model shall go."""
        return self.load_only and self.keep_alive == 0

    @property
    def images(self) -> list[bytes]:
        """All images, in the order of their places in the prompt."""
        return [image for message in self.messages for image in message.images]


class Waiting(Struct, frozen=True):
    """The model is not ready, or it is not this job's turn; only for a job that wants to know (`Job.progress`)."""

    position: int
    """About how many turns until its own, 1 for the next one."""
    loading: float | None = None
    """How much of the model is loaded, 0 to 1; None while it is not being loaded."""
    size: int = 0
    """Bytes that it will hold, as far as known."""


class Loaded(Struct, frozen=True):
    """The model is ready: the only event of a job that only loads."""


class Rendered(Struct, frozen=True):
    """The only event of a job that only renders."""

    prompt: str
    images: int = 0


class ToolCalls(Struct, frozen=True):
    """Calls that the model asks for."""

    calls: list[ToolCall]


class Finished(Struct, frozen=True):
    """The last event: what the backend told, and durations of the whole in nanoseconds."""

    done: Done
    total_ns: int
    load_ns: int


Event = Text | Thinking | ToolCalls | Finished | Loaded | Rendered | Waiting
