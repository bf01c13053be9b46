"""Every hook, typed, saying what it is for, when it is called, in which order, where, and what becomes of errors.

Hooks register; objects work. Most hooks are called a handful of times in the life of a server and hand over a name and
an object or a factory; a few decide something about a request or a model, once each. No hook is on the path of a token.
Implement one with `@remuda.hookimpl` in a module named in the entry-point group `remuda`; a misspelt name is an error,
reported with the plugin's name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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
    "ReadSettings",
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

T = TypeVar("T", bound=Struct)

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
    """Stands round a request: may look at it, change it, refuse it, and do the same to every event of its answer.

    With `optional = True` in its class it is left out while it is out of order; otherwise requests are refused then,
    because what it should keep back would pass.
    """

    def wrap(self, job: Job, proceed: Callable[[Job], AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
        """Yield the events of `proceed(job)`, or others in their place; `Finished` last where it comes.

        Written as an async generator that walks over `proceed(job)` inside `contextlib.aclosing`, so that the work
        stops when the client leaves. Raise `remuda.RemudaError` to refuse. `job` is a copy: others see only what is
        given to `proceed`. Whatever takes long must be awaited, and not longer than `plugins.budget`.
        """
        ...


class ReadSettings(Protocol):
    def __call__(self, kind: type[T]) -> T:
        """The plugin's own table of the configuration, `[plugins.settings.NAME]`, as a Struct of the plugin's.

        Its defaults where there is no table. Raises `ConfigError`, which names the key and what would be right, for
        keys that the Struct does not have and for values that it does not take.
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
        template: str | None = None,
        template_engine: str | None = None,
    ) -> None:
        """`name` as a client would write it; `weights` a file that the package installed, None for a model without.

        `format` is what kind of file it is, and `model_type` what kind of model a `ggml` file is, where its header does
        not tell. `backend` must serve it; without one it is the first that takes the format. Of formats that Remuda
        does not read, `capabilities` say what the model can do ("completion" where none are given; also "tools",
        "vision", "embedding", "thinking", "insert") and `context_length` the tokens that it was trained for.

        `template` is a chat template, before any in the weights, and `template_engine` the engine that renders it:
        `jinja` for those of the Hugging Face hub; without one it is `go`, the language of Modelfiles.
        """


class RegisterRoutes(Protocol):
    def __call__(self, make: Callable[[Any], object]) -> None:
        """`make` is called once with the server's `remuda.pipeline.Pipeline` and returns a Quart blueprint."""


class HookSpecs:
    """The signatures. An implementation may leave out arguments that it does not need.

    What "Runs" says holds for plugins that are not Remuda's own, which are called directly. "The plugin's thread" is
    one for each plugin, in which it is imported as well.
    """

    @hookspec
    def remuda_configure(self, settings: ReadSettings) -> None:
        """Read the plugin's own settings: `settings(Struct)` is its table `[plugins.settings.NAME]`.

        - Called: once at start, before all other hooks of the plugin; where there is no table, too.
        - Order: plugin by plugin, as they are registered.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`.
        - Errors: `ConfigError` stops the start, as for all other settings. With any other the plugin is left out.
        """

    @hookspec
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        """Hand over backends: `factory(settings)` returns a `remuda.Backend`.

        The factory is usually the class; its `formats`, if it has any, are the weight formats it takes unasked.

        - Called: once at start.
        - Order: plugin by plugin, as they are registered; where several take a format, the first backend serves it.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`; the factory on the event loop, at its use.
        - Errors: told, and what was handed over before stays. A name that is taken is refused.
        """

    @hookspec
    def remuda_register_models(self, register: RegisterModel) -> None:
        """Hand over models whose weights an installed package ships, or that need none.

        - Called: once at start.
        - Order: plugin by plugin, as they are registered.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`.
        - Errors: told, and what was handed over before stays. A name that is taken is refused.
        """

    @hookspec
    def remuda_register_templates(self, register: RegisterFactory) -> None:
        """Hand over template engines: `factory()` returns a `TemplateEngine`.

        - Called: once at start.
        - Order: plugin by plugin, as they are registered; an engine is used by its name.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`; the factory on the event loop, at its use.
        - Errors: told, and what was handed over before stays. A name that is taken is refused.
        """

    @hookspec
    def remuda_register_formats(self, register: RegisterFactory) -> None:
        """Hand over output formats: `factory()` returns an `OutputFormat`.

        It serves requests whose `format` is its name, or an object whose `type` is its name. All other objects are
        JSON Schemas and go to the format `json_schema`.

        - Called: once at start.
        - Order: plugin by plugin, as they are registered; a format is used by its name.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`; the factory on the event loop, at its use.
        - Errors: told, and what was handed over before stays. A name that is taken is refused.
        """

    @hookspec
    def remuda_register_parsers(self, register: RegisterFactory) -> None:
        """Hand over output parsers: `factory()` returns a `remuda.output.ParserKind`.

        - Called: once at start.
        - Order: plugin by plugin, as they are registered; for each answer the kind registered last is asked first
          whether it applies.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`; the factory on the event loop, at its use.
        - Errors: told, and what was handed over before stays. A name that is taken is refused.
        """

    @hookspec
    def remuda_register_filters(self, register: RegisterFactory) -> None:
        """Hand over filters: `factory()` returns a `Filter`, made once for all requests.

        - Called: once at start.
        - Order: plugin by plugin, as they are registered; the filter registered first stands outermost: it sees a
          request first and its answer last.
        - Runs: in the plugin's thread, the factory too, for at most `plugins.start_timeout` each; the filter on the
          event loop, for at most `plugins.budget` between two events.
        - Errors: told, and what was handed over before stays. What a filter raises fails its request: `RemudaError` as
          it is, all else as 500 that names it. After `plugins.faults` such faults in a row, requests are refused for
          `plugins.cooldown`; with `optional = True` the filter is left out instead.
        """

    @hookspec(firstresult=True)
    def remuda_select_backend(self, model: ModelEntry) -> str | None:
        """Choose the backend of a model that no route and no setting gives one: its name, or None.

        - Called: with each request for such a model, and more than once.
        - Order: the plugin registered last is asked first.
        - Runs: in the plugin's thread, while all requests wait, for at most `plugins.budget`.
        - Errors: told once, and the next plugin is asked; so for what is no text. After `plugins.faults` in a row it
          is left alone for `plugins.cooldown`.
        """

    @hookspec(firstresult=True)
    def remuda_keep_alive(self, usage: Usage) -> float | None:
        """Decide how many seconds an idle model stays, 0 to leave at once, `math.inf` for ever.

        Return None for models of a `usage.policy` that is not yours.

        - Called: each time a model becomes idle; and for `/api/ps`, about a model in use: how many it would stay if it
          became idle now.
        - Order: the plugin registered last is asked first.
        - Runs: in the plugin's thread, while all requests wait, for at most `plugins.budget`.
        - Errors: told once, and the next plugin is asked; so for what is no such number. After `plugins.faults` in a
          row it is left alone for `plugins.cooldown`.
        """

    @hookspec(firstresult=True)
    def remuda_priority(self, asking: Asking) -> int | None:
        """Say how urgent a request is: a higher number is served before all lower ones.

        None, and requests that nobody gives a number, count as 0. Between equals the queue is fair to clients.

        - Called: for each request for a model, before it is queued.
        - Order: the plugin registered last is asked first.
        - Runs: in the plugin's thread, while all requests wait, for at most `plugins.budget`.
        - Errors: told once, and the next plugin is asked; so for what is no such number. After `plugins.faults` in a
          row it is left alone for `plugins.cooldown`.
        """

    @hookspec
    def remuda_register_routes(self, register: RegisterRoutes) -> None:
        """Hand over blueprints: a dialect, a dashboard.

        - Called: once, when the HTTP application is made.
        - Order: the plugin registered last is called first.
        - Runs: in the plugin's thread, the makers too, for at most `plugins.start_timeout` each.
        - Errors: told, and the blueprint is left out; so for one with a route that is there already.
        """

    @hookspec
    def remuda_register_commands(self, cli: click.Group) -> None:
        """Add commands to `cli`.

        - Called: once, when a command is wanted that is not built in, or help.
        - Order: the plugin registered last is called first.
        - Runs: in the plugin's thread, for at most `plugins.start_timeout`; the commands in the main thread.
        - Errors: told, and what was added before stays. A name that is taken is refused.
        """

    @hookspec
    def remuda_request_finished(self, receipt: Receipt) -> None:
        """Take note of what a request cost and how it ended.

        - Called: after each request for a model, however it ended, one receipt after the other.
        - Order: plugins do not wait for each other.
        - Runs: in a second thread of the plugin, so nobody waits. Up to 1000 receipts wait for it, more are dropped;
          at the end of the server it has 2 seconds for what waits.
        - Errors: told once; to take more than `plugins.budget` is one. After `plugins.faults` in a row it gets nothing
          for `plugins.cooldown`.
        """

    @hookspec
    def remuda_lifespan(self, app: Any) -> AbstractAsyncContextManager[None] | None:
        """Return a context manager that is entered before the server accepts, and left at its end.

        - Called: once, before the server accepts.
        - Order: the plugin registered last is entered first, and left last.
        - Runs: the hook in the plugin's thread, the manager in a task of its own on the event loop; for at most
          `plugins.start_timeout` each, and 3 seconds to leave.
        - Errors: told, and the server goes on without it; so when a task group that it holds open fails.
        """
