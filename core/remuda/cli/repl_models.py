"""The commands of a conversation that are about models: /show, /save, /load and /list."""

from __future__ import annotations

from contextlib import closing

import click

from ..wire import CreateRequest, ShowMessage, ShowRequest
from .client import ServerError
from .conversation import Conversation
from .replies import Shown
from .sections import sections
from .show import echo_text
from .tables import model_table
from .values import unicode

__all__ = ["SHOWN", "list_models", "load_model", "save_model", "show_model"]

SHOWN = ("info", "license", "modelfile", "parameters", "system", "template")
"""What `/show` can show."""


def show_model(talk: Conversation, what: str) -> None:
    """One of `SHOWN`, with what is set in this conversation."""
    shown = talk.client.show(
        ShowRequest(model=talk.model, system=unicode(talk.system) or None, options=talk.options or None)
    )
    match what:
        case "info":
            text = sections(shown)
        case "parameters":
            text = _parameters(talk, shown)
        case "system":
            text = talk.system or shown.system
        case _:
            text = getattr(shown, what)
    echo_text(text or f"This model has no {what}.")
    click.echo()


def save_model(talk: Conversation, name: str) -> None:
    """Make the model `name` of this one, with the settings and with what was said here."""
    request = CreateRequest(
        model=name,
        base=talk.model,
        system=unicode(talk.system) or None,
        parameters=talk.options or None,
        messages=[ShowMessage(said.role or "", said.content or "") for said in talk.messages] or None,
    )
    with closing(talk.client.create(request)) as events:
        for _ in events:
            pass
    click.echo(f"Created new model '{name}'")


def load_model(talk: Conversation, name: str) -> None:
    """Talk with the model `name` from now on; if there is none, with the one from before."""
    before, talk.model = talk.model, name
    try:
        talk.load()
    except BaseException as error:
        talk.model = before
        if not isinstance(error, ServerError) or error.status != 404:
            raise
        click.echo(f"Couldn't find model '{name}'")
        return
    talk.clear()


def list_models(talk: Conversation, prefix: str) -> None:
    """The table of `remuda list`."""
    click.echo(model_table(talk.client, prefix))


def _parameters(talk: Conversation, shown: Shown) -> str:
    here = "\n".join(f"{name:30} {value}" for name, value in sorted(talk.options.items()))
    parts = (("Model defined parameters:", shown.parameters), ("User defined parameters:", here))
    return "\n\n".join(f"{title}\n{_indented(lines)}" for title, lines in parts if lines)


def _indented(lines: str) -> str:
    return "\n".join(f"  {line}" for line in lines.splitlines())
