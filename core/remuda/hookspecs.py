"""Every hook, typed, saying when it is called and what it hands over.

Hooks register; objects work. Most hooks are called a handful of times in the life of a server and hand over a name and
an object or a factory; a few decide something about a request or a model, once each. No hook is on the path of a token.
Implement one with `@remuda.hookimpl` in a module named in the entry-point group `remuda`; a misspelt name is an error,
reported with the plugin's name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy
from msgspec import Struct

from .job import Event, Job
from .output import Constraint

if TYPE_CHECKING:
    import click

    from .model.entry import ModelEntry

__all__ = [
    "Asking",
    "Filter",
    "HookSpecs",
    "OutputFormat",
    "Receipt",
    "RegisterFactory",
    "RegisterModel",
    "RegisterRoutes",
    "TemplateEngine",
    "TemplateTraits",
    "Usage",
    "hookimpl",
    "hookspec",
]

hookspec = pluggy.HookspecMarker("remuda")
hookimpl = pluggy.HookimplMarker("remuda")


class Receipt(Struct, frozen=True, kw_only=True):
    """What one request cost and how it ended. Durations in nanoseconds."""

    request_id: str
    endpoint: str
    model: str
    backend: str = ""
    status: int = 200
    """The HTTP status; 499 when the client left; the error's own status when a stream ended with an error line."""
    reason: str = ""
    """`done_reason`, or the error message."""
    prompt_tokens: int = 0
    """Those that were reused included."""
    cached_tokens: int = 0
    """How many of them were reused and not computed."""
    output_tokens: int = 0
    total_ns: int = 0
    load_ns: int = 0
    prompt_ns: int = 0
    output_ns: int = 0
    ignored_options: tuple[str, ...] = ()


class Usage(Struct, frozen=True, kw_only=True):
    """How a loaded model has been used, at a moment when nobody uses it. Times in seconds."""

    model: str
    """Its whole name, tag included."""
    policy: str
    """Which policy the configuration wants for it (`residency.policy`)."""
    asked: float | None
    """What the last request that had a `keep_alive` said, since the load; `math.inf` is for ever."""
    default: float
    """What the configuration, or the model itself, says for requests without one."""
    gaps: tuple[float, ...] = ()
    """Between its last requests, from arrival to arrival, the latest last; loads in between do not matter."""
    load_seconds: float = 0.0
    """What its last load took."""
    size: int = 0
    """Bytes of memory that it holds, as far as known."""


class Asking(Struct, frozen=True, kw_only=True):
    """A request for a model before it is queued."""

    request_id: str
    endpoint: str
    model: str
    """Its name as the client typed it."""
    address: str
    """The client's."""
    key: str
    """A fingerprint of the key that the client sent, the first 16 hex digits of its SHA-256; empty if it sent none."""


class TemplateTraits(Struct, frozen=True, kw_only=True):
    """What a template can say, as its engine reads it from the source (Ollama API, "Capabilities")."""

    messages: bool = True
    """It walks over the messages itself; else it is rendered once for each exchange."""
    tools: bool = False
    """It tells the model which tools there are."""
    tool_results: bool = False
    """It tells the model what its calls gave back."""
    tool_tag: str = ""
    """What stands before a call of a tool; empty if nothing was found."""
    thinking: bool = False
    """It knows of thinking."""
    think_open: str = ""
    think_close: str = ""
    """The tags round thinking; empty if none were found."""
    insert: bool = False
    """It can place a suffix after the answer."""
    stops: tuple[str, ...] = ()
    """What ends an answer of the well-known family that the template is recognised as; empty if it is of none."""
    known: str = ""
    """That family's name."""
    known_template: str = ""
    """A template for that family, for the engine `go`."""


class TemplateEngine(Protocol):
    """Turns messages into a prompt. A template is untrusted and must be able to hurt nobody.

    Both methods raise `BadRequest` for a fault of the template, and when `timeout` seconds are over.
    """

    async def inspect(self, template: str, *, timeout: float) -> TemplateTraits:
        """What the template can say."""
        ...

    async def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> str:
        """The prompt. `variables` hold plain data, each only if there is something to say:

        - `messages`: a list of mappings with `role` and `content`, and where given `thinking`, `images` (how many),
          `tool_calls` (each with `id` and `function`: `index`, `name`, `arguments`), `tool_name`, `tool_call_id`
        - `tools`: the tools of the request as the protocol has them
        - `prompt`, `suffix`: what stands before and after the answer, when a suffix was given
        - `think`: true, false or a level; absent where the model knows nothing of thinking
        - `bos_token`, `eos_token`
        """
        ...

    async def close(self) -> None: ...


class OutputFormat(Protocol):
    """Turns what a client asked for in `format` into a constraint."""

    async def constraint(self, value: Any, *, timeout: float) -> Constraint:
        """`value` is the format as the client sent it: a text or an object. It is untrusted.

        Raises `BadRequest` that names the fault when it cannot be honoured whole, or not within `timeout` seconds.
        """
        ...

    async def close(self) -> None: ...


class Filter(Protocol):
    """Stands round a request: may look at it, change it, refuse it, and do the same to every event of its answer."""

    def wrap(self, job: Job, proceed: Callable[[Job], AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
        """Yield the events of `proceed(job)`, or others in their place; `Finished` last where it comes.

        Written as an async generator that walks over `proceed(job)` inside `contextlib.aclosing`, so that the work
        stops when the client leaves. Raise `remuda.RemudaError` to refuse.
        """
        ...


class RegisterFactory(Protocol):
    def __call__(self, name: str, factory: str | Callable[..., object], *, hint: str = "") -> None:
        """`factory` is a callable or `"package.module:attribute"`; `hint` says how to install what it needs."""


class RegisterModel(Protocol):
    def __call__(
        self,
        name: str,
        weights: Path | None = None,
        *,
        format: str = "gguf",
        model_type: str | None = None,
        backend: str | None = None,
        capabilities: Sequence[str] = (),
        context_length: int = 0,
    ) -> None:
        """`name` as a client would write it; `weights` a file that the package installed, None for a model without.

        `format` is what kind of file it is, and `model_type` what kind of model a `ggml` file is, where its header does
        not tell. `backend` must serve it; without one it is the first that takes the format. Of formats that Remuda
        does not read, `capabilities` say what the model can do ("completion" where none are given; also "tools",
        "vision", "embedding", "thinking", "insert") and `context_length` the tokens that it was trained for.
        """


class RegisterRoutes(Protocol):
    def __call__(self, make: Callable[[Any], object]) -> None:
        """`make` is called once with the server's `remuda.pipeline.Pipeline` and returns a Quart blueprint."""


class HookSpecs:
    """The signatures. An implementation may leave out arguments that it does not need."""

    @hookspec
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        """Called once at start. Hand over backends: `factory(settings)` returns a `remuda.Backend`.

        The factory is usually the class; its `formats`, if it has any, are the weight formats it takes unasked.
        """

    @hookspec
    def remuda_register_models(self, register: RegisterModel) -> None:
        """Called once at start. Hand over models whose weights an installed package ships."""

    @hookspec
    def remuda_register_templates(self, register: RegisterFactory) -> None:
        """Called once at start. Hand over template engines: `factory()` returns a `TemplateEngine`."""

    @hookspec
    def remuda_register_formats(self, register: RegisterFactory) -> None:
        """Called once at start. Hand over output formats: `factory()` returns an `OutputFormat`.

        It serves requests whose `format` is its name, or an object whose `type` is its name. All other objects are
        JSON Schemas and go to the format `json_schema`.
        """

    @hookspec
    def remuda_register_parsers(self, register: RegisterFactory) -> None:
        """Called once at start. Hand over output parsers: `factory()` returns a `remuda.output.ParserKind`.

        For each answer the kinds are asked whether they apply, the one registered last first.
        """

    @hookspec
    def remuda_register_filters(self, register: RegisterFactory) -> None:
        """Called once at start. Hand over filters: `factory()` returns a `Filter`, made once for all requests.

        The filter registered first stands outermost: it sees a request first and its answer last.
        """

    @hookspec(firstresult=True)
    def remuda_select_backend(self, model: ModelEntry) -> str | None:
        """Called for a model that no route and no setting gives a backend; the first name returned is taken."""

    @hookspec(firstresult=True)
    def remuda_keep_alive(self, usage: Usage) -> float | None:
        """Called each time a model becomes idle: how many seconds it stays, 0 to leave at once, `math.inf` for ever.

        And for `/api/ps`, about a model in use: how many it would stay if it became idle now.

        Be quick: it is called on the event loop. Return None for models of a `usage.policy` that is not yours. What
        is no such number is reported and ignored.
        """

    @hookspec(firstresult=True)
    def remuda_priority(self, asking: Asking) -> int | None:
        """Called for each request for a model, on the event loop: a higher number is served before all lower ones.

        None, and requests that nobody gives a number, count as 0. Between equals the queue is fair to clients.
        """

    @hookspec
    def remuda_register_routes(self, register: RegisterRoutes) -> None:
        """Called once when the HTTP application is made. Hand over blueprints: a dialect, a dashboard."""

    @hookspec
    def remuda_register_commands(self, cli: click.Group) -> None:
        """Called once when the command line is made. Add commands to `cli`."""

    @hookspec
    def remuda_request_finished(self, receipt: Receipt) -> None:
        """Called after each request for a model, on the event loop: be quick. What you raise is logged, no more."""

    @hookspec
    def remuda_lifespan(self, app: Any) -> AbstractAsyncContextManager[None] | None:
        """Called once before the server accepts. Return a context manager that is entered then and left at the end."""
