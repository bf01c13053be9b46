"""`--upstream`: where a command that changes models does so, if the server has others behind it."""

from __future__ import annotations

import re
from typing import Final

import click

from ..wire import ALL, HERE

__all__ = ["upstream_option"]

_NAME: Final = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9_.-]*")


def _names(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str:
    """The names as they are sent. What no upstream can be called is refused before anything is asked."""
    if text is None:
        return ""
    names = [name.strip() for name in text.split(",")]
    if not all(_NAME.fullmatch(name) for name in names):
        raise click.BadParameter("give it names of upstreams, separated by commas; `remuda upstreams` lists them")
    return ",".join(names)


upstream_option = click.option(
    "--upstream",
    metavar="NAMES",
    callback=_names,
    help=f"Do it on these upstreams of the server, separated by commas: '{ALL}' is all, '{HERE}' the server itself.",
)
