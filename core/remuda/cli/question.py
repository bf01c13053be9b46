"""What is asked: a text, and the images whose paths stand in it."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from msgspec import Struct, field

from .values import unicode

__all__ = ["Question", "begins_with_image", "question_from"]

_LARGEST: Final = 100 * 1024 * 1024
_PATH: Final = re.compile(
    r"""(?<![A-Za-z0-9_.~/\\:%-])            # not in the middle of a word or of a URL
        (?:[A-Za-z]:[\\/]|~[\w.-]{0,64}/|\.{0,2}/)
        [^\n]{0,1000}?                         # also spaces: what is no file is no path either
        \.(?:jpe?g|png|webp)(?!\w|\.\w)
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_ESCAPED: Final = re.compile(r"\\(.)")
_QUOTES: Final = ("'", '"')
_HEAD: Final = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)


class Question(Struct, frozen=True):
    """A text for JSON, and images in base64."""

    text: str
    images: list[str] = field(default_factory=list[str])


class _Found(Struct, frozen=True):
    """A path in a text, from `start` to `end`, quotes included, and the file that it names."""

    start: int
    end: int
    file: str


def question_from(text: str) -> Question:
    """`text` without the paths of images that there are, and these images; each is announced on stderr.

    A path ends in .jpg, .jpeg, .png or .webp and begins with `/`, `./`, `../`, `~` or a drive. Raises a click error
    for a file that is too large, cannot be read, or is no image.
    """
    images: list[str] = []
    rest, at = "", 0
    for found in _found(text):
        images.append(_image(found.file))
        click.echo(f"Added image '{click.format_filename(found.file)}'", err=True)
        rest += text[at : found.start].removesuffix(" ")
        at = found.end
    return Question(unicode((rest + text[at:]).strip() if images else text), images)


def begins_with_image(text: str) -> bool:
    """Whether the first thing in `text` is a path that `question_from` would take out."""
    first = next(_found(text), None)
    return first is not None and first.start == 0


def _found(text: str) -> Iterator[_Found]:
    at = 0
    while match := _PATH.search(text, at):
        at = match.start() + 1
        file = _file(match[0])
        if file is None:
            continue  # "/etc and ./a.png" is no file, but what begins inside it may be one
        start, at = match.span()
        if text[start - 1 : start] in _QUOTES and text[at : at + 1] == text[start - 1]:
            start, at = start - 1, at + 1
        yield _Found(start, at, file)


def _file(path: str) -> str | None:
    """The file as spelled, or with the backslashes gone that a shell puts before spaces."""
    for spelled in (path, _ESCAPED.sub(r"\1", path)):
        file = os.path.expanduser(spelled)
        if os.path.isfile(file):
            return file
    return None


def _image(file: str) -> str:
    name = click.format_filename(file)
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise click.ClickException(f"the image '{name}' cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise click.ClickException(f"the image '{name}' is larger than {_LARGEST // 1024**2} MB")
    if not _HEAD.match(data):
        raise click.ClickException(f"the file '{name}' is neither a JPEG nor a PNG nor a WebP image")
    return base64.b64encode(data).decode("ascii")
