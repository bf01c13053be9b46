"""Every hook, typed, saying when it is called and what it hands over.

Hooks register; objects work. A hook is called a handful of times in the life of a server and hands over a name and
an object or a factory. No hook is on the path of a token. Implement one with `@remuda.hookimpl` in a module named in
the entry-point group `remuda`; a misspelt name is an error, reported with the plugin's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy
from msgspec import Struct

if TYPE_CHECKING:
    import click

    from .model.entry import ModelEntry

__all__ = [
    "HookSpecs",
    "Receipt",
    "RegisterFactory",
    "RegisterModel",
    "RegisterRoutes",
    "TemplateEngine",
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
    output_tokens: int = 0
    total_ns: int = 0
    load_ns: int = 0
    prompt_ns: int = 0
    output_ns: int = 0
    ignored_options: tuple[str, ...] = ()


class TemplateEngine(Protocol):
    """Turns messages into a prompt."""

    async def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> str:
        """The prompt. `variables` hold plain data: `messages`, `add_generation_prompt`, `bos_token`, `eos_token`.

        Raises `BadRequest` for a fault of the template or when `timeout` seconds are over; a template is untrusted
        and must be able to hurt nobody.
        """
        ...

    async def close(self) -> None: ...


class RegisterFactory(Protocol):
    def __call__(self, name: str, factory: str | Callable[..., object], *, hint: str = "") -> None:
        """`factory` is a callable or `"package.module:attribute"`; `hint` says how to install what it needs."""


class RegisterModel(Protocol):
    def __call__(self, name: str, weights: Path, *, format: str = "gguf", backend: str | None = None) -> None:
        """`name` as a client would write it; `weights` a file that the package installed."""


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

    @hookspec(firstresult=True)
    def remuda_select_backend(self, model: ModelEntry) -> str | None:
        """Called for a model that no route and no setting gives a backend; the first name returned is taken."""

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
