"""The conversation on a terminal: the prompt, the text between triple quotes, the commands that begin with a slash."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Final

import click

from ..errors import RemudaError
from .conversation import Conversation
from .question import begins_with_image, question_from
from .repl_models import SHOWN, list_models, load_model, save_model, show_model
from .values import format_from, option_from, think_from

__all__ = ["Repl"]

_QUOTES = '"""'
_MODES: Final[dict[str, tuple[str, bool]]] = {
    "verbose": ("verbose", True),
    "quiet": ("verbose", False),
    "wordwrap": ("wrap", True),
    "nowordwrap": ("wrap", False),
    "nothink": ("think", False),
}
_HELP = """Available Commands:
  /set parameter NAME VALUE...   Set an option of the model, such as temperature
  /set system TEXT               Set the system message
  /set think [LEVEL] | nothink   Have the model think first, or not; LEVEL is high, medium, low or max
  /set format json | noformat    Have it answer in JSON, or not; also a JSON Schema, or @FILE with one
  /set verbose | quiet           Show or hide times and rates after each answer
  /set wordwrap | nowordwrap     Wrap lines at words, or do not
  /show info                     Show what the model is; also license, modelfile, parameters, system, template
  /load MODEL                    Talk with another model, from the beginning
  /save MODEL                    Make a model of this one, with the settings and with what was said
  /list [PREFIX]                 List the models that there are
  /clear                         Forget what was said
  /bye                           Leave (also Ctrl + d)
  /?, /help                      This help

Paths of images in a question are taken out, and the images are shown to the model.
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
            text = line.strip()
            return text.startswith("/") and not begins_with_image(text), text
        lines = [rest]
        while _QUOTES not in lines[-1]:
            lines.append(self._read_line("... "))
        lines[-1] = lines[-1].partition(_QUOTES)[0]
        return bool(head.strip()), head + "\n".join(lines)

    def _ask(self, text: str) -> None:
        try:
            self._talk.ask(question_from(text))
        except KeyboardInterrupt:
            click.echo("\n")

    def _obey(self, text: str) -> bool:
        """Returns False to leave."""
        with_words = {"/set": self._set, "/show": self._show, "/save": self._save, "/load": self._load}
        word, _, rest = text.partition(" ")
        if word in {"/bye", "/exit"}:
            return False
        if word in {"/?", "/help"}:
            click.echo(_HELP)
        elif word == "/clear":
            self._talk.clear()
            click.echo("Cleared session context")
        elif word == "/list":
            list_models(self._talk, rest.strip())
        elif word in with_words and rest.strip():
            with_words[word](rest.strip())
        elif word in with_words:
            click.echo(_HELP)
        else:
            click.echo(f"Unknown command '{word}'. Type /? for help")
        return True

    def _show(self, what: str) -> None:
        if what in SHOWN:
            show_model(self._talk, what)
        else:
            click.echo(f"Unknown command '/show {what}'. Type /? for help")

    def _save(self, name: str) -> None:
        save_model(self._talk, name)

    def _load(self, name: str) -> None:
        load_model(self._talk, name)

    def _set(self, text: str) -> None:
        what, _, value = text.partition(" ")
        value = value.strip()
        if what in _MODES:
            setattr(self._talk, *_MODES[what])
            click.echo(f"Set '{what}' mode.")
        elif what == "think":
            self._talk.think = think_from(value or "true", "/set think")
            click.echo(f"Set 'think' mode to '{value}'." if value else "Set 'think' mode.")
        elif what == "noformat":
            self._talk.format = None
            click.echo("Disabled format.")
        elif what == "format" and value:
            self._talk.format = format_from(value, "/set format")
            click.echo(f"Set format to '{value}'.")
        elif what == "system" and value:
            self._talk.system = _unquoted(value)
            click.echo("Set system message.")
        elif what == "parameter" and len(value.split()) > 1:
            name, *texts = value.split()
            proper, checked = option_from(name, texts)
            self._talk.options[proper] = checked
            click.echo(f"Set parameter '{name}' to '{', '.join(texts)}'")
        elif what in {"format", "parameter", "system"}:
            click.echo(_HELP)
        else:
            click.echo(f"Unknown command '/set {what}'. Type /? for help")


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
