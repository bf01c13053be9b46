"""The kinds of plugins that there is a beginning for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

__all__ = ["KINDS", "Kind"]


class Kind(Struct, frozen=True, kw_only=True):
    """What is particular about a kind, beside its files."""

    line: str
    """What such a plugin does, for the help."""
    title: str
    """What the new plugin is, for its own readers; `{name}` stands for its name."""
    target: str = "plugin"
    """Where in the package its hooks are: a module, and an object in it after a colon."""
    needs: tuple[str, ...] = ()
    """What it imports beside Remuda."""
    example: str | None = None
    """A command that tries it on a running server; `{name}` stands for its name."""
    offers: str = ""
    """The kind of thing whose name must be free among those that are offered already: a registry of `Plugins`."""


KINDS: Final[Mapping[str, Kind]] = MappingProxyType({
    "backend": Kind(
        line="serves models from Python, in the server's own process",
        title="The backend `{name}`, a bot in a few lines of Python",
        example="remuda run {name} 'Hello there!'",
        offers="backends",
    ),
    "engine": Kind(
        line="runs weights on this machine, in a process of its own",
        title="The engine `{name}`, which writes like the text that it has read",
        example="remuda run {name} 'Once upon a time'",
        offers="backends",
    ),
    "dialect": Kind(
        line="gives the server another API: routes in front of the same models",
        title="The dialect `{name}`, another API for the same models",
        needs=("msgspec>=0.19", "quart>=0.20"),
    ),
    "filter": Kind(
        line="stands round every request and its answer: to look, change or refuse",
        title="The filter `{name}`, which keeps words out of questions and answers",
        target="plugin:plugin",
        needs=("msgspec>=0.19",),
        offers="filters",
    ),
    "template": Kind(
        line="turns messages into prompts, in a template language of its own",
        title="The template engine `{name}`, a line for each message",
        offers="templates",
    ),
    "format": Kind(
        line='gives clients another value for "format", which answers then match',
        title="The output format `{name}`, one of a list of texts",
        needs=("msgspec>=0.19",),
        offers="formats",
    ),
})  # fmt: skip
"""By the names that `--kind` takes."""
