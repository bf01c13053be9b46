"""The files that a Modelfile names: paths as they are typed, and what is taken from a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

__all__ = ["expanded", "files_at", "named"]

_WEIGHTS: Final = (
    ("model*.safetensors", "*/model*.safetensors"),
    ("consolidated*.safetensors",),
    ("adapter*.safetensors",),
    ("pytorch_model*.bin",),
    ("consolidated*.pth",),
)
"""Patterns of weights that need files of settings beside them; the first ones that match are taken."""
_COMPANIONS: Final = ("*.json", "*/*.json", "chat_template.jinja", "tokenizer.model")
_COMPLETE: Final = (("*.gguf",), ("*.bin",))
"""Weights that need nothing else, looked for after those."""


def expanded(text: str, folder: Path) -> Path | None:
    """The file or folder that `text` names, seen from `folder`; `~` and `~user` are home folders. None if it is not
    there. Raises a click error if it cannot be there, nor be a model's name."""
    path = folder / os.path.expanduser(text)
    try:
        if text and path.exists():
            return path
    except (OSError, ValueError) as error:  # too long for a path; a NUL in it
        raise click.ClickException(f"{text[:80]!r} is no path: {error}") from None
    if text.startswith(("/", "./", "../", "~")) or text in {"", ".", ".."}:
        raise click.ClickException(f"the file {text!r} does not exist" if text else "a path is missing")
    return None


def files_at(path: Path) -> list[Path]:
    """A file itself; of a folder, the files of the model in it. Raises a click error if there are none, or if one is
    a link to somewhere outside the folder."""
    if not path.is_dir():
        return [path]
    for patterns in (*_WEIGHTS, *_COMPLETE):
        found = list(_matching(path, patterns))
        if found:
            return found if patterns in _COMPLETE else [*found, *_matching(path, _COMPANIONS)]
    raise click.ClickException("no Modelfile or safetensors files found")


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by the names that the server knows them by: relative to the folder that all of them are in."""
    files = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    if not files:
        return {}
    root = os.path.commonpath([file.parent for file in files])
    return {file.relative_to(root).as_posix(): file for file in files}


def _matching(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    root = folder.resolve()
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if not path.resolve().is_relative_to(root):
                raise click.ClickException(f"insecure path: {path.relative_to(folder)} is a link out of the folder")
            if path.is_file():
                yield path
