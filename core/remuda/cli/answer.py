"""Showing one answer, and what it cost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import closing

import click

from .client import Piece, ServerError
from .humanize import short_duration
from .wrap import WordWrap, harmless

__all__ = ["show_answer", "show_stats"]

_NARROWEST = 10


def show_answer(pieces: Generator[Piece, None, None], *, wrap: bool) -> Piece:
    """Write the answer to stdout as it comes; returns its last line, with the metrics.

    A terminal gets it without control characters, wrapped at words if `wrap`; anything else gets it as it is.
    Left early (Ctrl-C, a broken pipe), it closes the connection, and the server stops generating.
    """
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 1
    wrapper = WordWrap(width) if terminal and wrap and width >= _NARROWEST else None
    last, ended = Piece(), True
    with closing(pieces):
        for last in pieces:
            text = harmless(last.response) if terminal else last.response
            if text:
                click.echo(wrapper.feed(text) if wrapper else text, nl=False)
                ended = text.endswith("\n")
    if not last.done:
        raise ServerError("the stream ended before the answer did", 200)
    if not ended:
        click.echo()
    if terminal:
        click.echo()
    return last


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


def _rate(tokens: int, nanoseconds: int) -> str:
    return f"{tokens / nanoseconds * 1e9:.2f} tokens/s" if nanoseconds else ""
