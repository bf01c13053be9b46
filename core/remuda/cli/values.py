"""Values as they are typed: options, the level of thinking, the format of an answer. What is wrong is said at once.

`where` is what the value was typed after, for the message.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ..wire import parse_options
from ..wire.options import ALIASES, RULES

__all__ = ["format_from", "option_from", "think_from", "unicode"]

_THINK: Final[dict[str, bool | str]] = {
    "true": True,
    "false": False,
    "high": "high",
    "medium": "medium",
    "low": "low",
    "max": "max",
}
_FORMAT_NAME: Final = re.compile(r"[A-Za-z][\w-]*", re.ASCII)


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


def think_from(text: str, where: str) -> bool | str:
    """The value of `think` (Ollama API, "think"). Raises a click error for any other text."""
    if text not in _THINK:
        raise _invalid(where, f"{_quoted(text)} (must be true, false, high, medium, low, or max)")
    return _THINK[text]


def format_from(text: str, where: str) -> Any:
    """The value of `format`: a name such as `json`, an object as JSON text, or `@FILE` with such an object.

    Which names there are, and what a schema may hold, only the server knows. Raises a click error for anything else.
    """
    if text.startswith("@"):
        return _object(_content(text[1:], where), f"the file {text[1:]!r}", where)
    if text.lstrip().startswith("{"):
        return _object(os.fsencode(text), "the text", where)
    if not _FORMAT_NAME.fullmatch(text):
        raise _invalid(where, f"{_quoted(text)} (must be json, a JSON Schema, or @FILE with one)")
    return text


def unicode(text: str) -> str:
    """Bytes that are not UTF-8 reach Python as lone surrogates, which JSON cannot carry: U+FFFD instead."""
    return os.fsencode(text).decode("utf-8", "replace")


def _content(path: str, where: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path; `~nobody`
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _invalid(where, f"the file {path!r} cannot be read: {why}") from None


def _object(data: bytes, what: str, where: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except RecursionError:
        why = "nested too deeply"
    except (msgspec.DecodeError, UnicodeError) as error:
        why = str(error)
    raise _invalid(where, f"{what} is not a JSON object: {why}")


def _invalid(where: str, what: str) -> click.ClickException:
    return click.ClickException(f"invalid value for {where}: {what}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
