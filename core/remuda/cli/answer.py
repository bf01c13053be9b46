"""Showing one answer, and what it cost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import closing
from typing import Final

import click
from msgspec import Struct

from .client import ServerError
from .humanize import short_duration
from .replies import Piece
from .wrap import WordWrap, harmless

__all__ = ["Answer", "show_answer", "show_stats"]

_NARROWEST: Final = 10
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


class Answer(Struct, frozen=True):
    """A complete answer; `last` is its last line, with the metrics."""

    text: str
    thinking: str
    last: Piece


def show_answer(pieces: Generator[Piece, None, None], *, wrap: bool, hide_thinking: bool = False) -> Answer:
    """Write the answer to stdout as it comes, what the model thought before it between two marks.

    A terminal gets it without control characters, wrapped at words if `wrap`; anything else gets it as it is.
    Left early (Ctrl-C, a broken pipe), it closes the connection, and the server stops generating.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    last, screen = Piece(), _Screen(wrap)
    with closing(screen), closing(pieces):
        for last in pieces:
            texts.append(last.text)
            thoughts.append(last.thought)
            if not hide_thinking:
                screen.think(last.thought)
            screen.say(last.text)
        if not last.done:
            raise ServerError("the stream ended before the answer did", 200)
        screen.finish()
    return Answer("".join(texts), "".join(thoughts), last)


def show_stats(last: Piece) -> None:
    """Write the metrics of an answer to stderr, leaving out what the server did not tell."""
    rows = (
        ("total duration:", last.total_duration, short_duration(last.total_duration)),
        ("load duration:", last.load_duration, short_duration(last.load_duration)),
        ("prompt eval count:", last.prompt_eval_count, f"{last.prompt_eval_count} token(s)"),
        ("prompt eval duration:", last.prompt_eval_duration, short_duration(last.prompt_eval_duration)),
        ("prompt eval rate:", last.prompt_eval_duration, _rate(last.prompt_eval_count, last.prompt_eval_duration)),
        ("eval count:", last.eval_count, f"{last.eval_count} token(s)"),
        ("eval duration:", last.eval_duration, short_duration(last.eval_duration)),
        ("eval rate:", last.eval_duration, _rate(last.eval_count, last.eval_duration)),
    )
    for label, value, text in rows:
        if value:
            click.echo(f"{label:22}{text}", err=True)


class _Screen:
    """Stdout. On a terminal thinking is dim; `close` ends that, whatever happened."""

    def __init__(self, wrap: bool) -> None:
        self._terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns - 1
        self._wrapper = WordWrap(width) if self._terminal and wrap and width >= _NARROWEST else None
        self._thinking = False
        self._line_ended = True

    def think(self, text: str) -> None:
        if text and not self._thinking:
            self._end_line()
            self._thinking = True
            self._style(_DIM)
            self._write("Thinking...\n")
        self._write(text)

    def say(self, text: str) -> None:
        if text:
            self._end_thinking()
            self._write(text)

    def finish(self) -> None:
        """The answer is complete."""
        self._end_thinking()
        self._end_line()
        if self._terminal:
            click.echo()

    def close(self) -> None:
        if self._thinking:
            self._thinking = False
            self._style(_PLAIN)

    def _end_thinking(self) -> None:
        if self._thinking:
            self._end_line()
            self._write("...done thinking.")
            self.close()
            self._write("\n\n")

    def _end_line(self) -> None:
        if not self._line_ended:
            self._write("\n")

    def _write(self, text: str) -> None:
        text = harmless(text) if self._terminal else text
        if text:
            # click would take escape sequences out of what goes to a file; what goes to a terminal has none.
            click.echo(self._wrapper.feed(text) if self._wrapper else text, nl=False, color=True)
            self._line_ended = text.endswith("\n")

    def _style(self, code: str) -> None:
        if self._terminal:
            click.echo(code, nl=False, color=True)


def _rate(tokens: int, nanoseconds: int) -> str:
    return f"{tokens / nanoseconds * 1e9:.2f} tokens/s" if nanoseconds else ""
