"""The conversation on a terminal: the prompt, the text between triple quotes, the commands that begin with a slash."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable

import click

from ..errors import RemudaError
from .conversation import Conversation, option_from

__all__ = ["Repl"]

_QUOTES = '"""'
_HELP = """Available Commands:
  /set parameter NAME VALUE...   Set an option of the model, such as temperature
  /set system TEXT               Set the system message
  /set verbose | quiet           Show or hide times and rates after each answer
  /set wordwrap | nowordwrap     Wrap lines at words, or do not
  /clear                         Forget what was said
  /bye                           Leave (also Ctrl + d)
  /?, /help                      This help

Use \"\"\" to begin and end a text of several lines. Ctrl + c stops an answer; what it said is then forgotten.
"""


class Repl:
    """Talks until /bye or the end of the input."""

    def __init__(self, talk: Conversation, read: Callable[[str], str] = input) -> None:
        self._talk = talk
        self._read_line = read

    def run(self) -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # which gives `input` line editing and a history

        while True:
            try:
                command, text = self._read()
                if command and not self._obey(text):
                    return
                if text and not command:
                    self._ask(text)
            except KeyboardInterrupt:
                click.echo("\nUse Ctrl + d or /bye to exit.")
            except EOFError:
                click.echo()
                return
            except (click.ClickException, RemudaError) as error:
                click.echo(f"Error: {error.message}", err=True)

    def _read(self) -> tuple[bool, str]:
        """What was typed, and whether it is a command. Triple quotes open a text only where a text begins."""
        line = self._read_line(">>> ")
        head, quotes, rest = line.partition(_QUOTES)
        if not quotes or head.strip() not in {"", "/set system"}:
            return line.lstrip().startswith("/"), line.strip()
        lines = [rest]
        while _QUOTES not in lines[-1]:
            lines.append(self._read_line("... "))
        lines[-1] = lines[-1].partition(_QUOTES)[0]
        return bool(head.strip()), head + "\n".join(lines)

    def _ask(self, text: str) -> None:
        try:
            self._talk.ask(text)
        except KeyboardInterrupt:
            click.echo("\n")

    def _obey(self, text: str) -> bool:
        """Returns False to leave."""
        word, _, rest = text.partition(" ")
        if word in {"/bye", "/exit"}:
            return False
        if word in {"/?", "/help"}:
            click.echo(_HELP)
        elif word == "/clear":
            self._talk.clear()
            click.echo("Cleared session context")
        elif word == "/set" and rest.strip():
            self._set(rest.strip())
        elif word == "/set":
            click.echo(_HELP)
        else:
            click.echo(f"Unknown command '{word}'. Type /? for help")
        return True

    def _set(self, text: str) -> None:
        what, _, value = text.partition(" ")
        modes = {"verbose": ("verbose", True), "quiet": ("verbose", False)}
        modes |= {"wordwrap": ("wrap", True), "nowordwrap": ("wrap", False)}
        if what in modes:
            setattr(self._talk, *modes[what])
            click.echo(f"Set '{what}' mode.")
        elif what == "system" and value.strip():
            self._talk.set_system(_unquoted(value))
            click.echo("Set system message.")
        elif what == "parameter" and len(value.split()) > 1:
            name, *texts = value.split()
            proper, checked = option_from(name, texts)
            self._talk.options[proper] = checked
            click.echo(f"Set parameter '{name}' to '{', '.join(texts)}'")
        elif what in {"system", "parameter"}:
            click.echo(_HELP)
        else:
            click.echo(f"Unknown command '/set {what}'. Type /? for help")


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
