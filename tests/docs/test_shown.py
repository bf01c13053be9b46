"""Blocks that no test runs are at least understood: commands take the options shown, files can be read."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import click
import pytest
import yaml
from msgspec import Struct

from remuda.cli import make_cli
from remuda.config import load_config
from remuda.plugins import Plugins

from .conftest import ROOT, pages

_GENERATED = re.compile(r"<!-- generated: .*?<!-- end -->", re.DOTALL)
_FENCE = re.compile(r"^(`{3,})(\w*)(?: ([^\n]+))?\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
PROSE = {"", "text", "markdown"}
OTHER_PROGRAMS = {"cd", "cp", "curl", "echo", "kill", "mkdir", "pytest", "python", "twine"}


class Shown(Struct, frozen=True):
    """A block written by hand, without a mark, or with one that says no more than that it is an example."""

    page: str
    number: int
    language: str
    code: str


def _shown() -> list[Shown]:
    found: list[Shown] = []
    for path in pages():
        text = _GENERATED.sub("", path.read_text("utf-8"))
        for number, (_, language, mark, code) in enumerate(_FENCE.findall(text), 1):
            if mark in {"", "example"} and language not in PROSE:
                found.append(Shown(str(path.relative_to(ROOT)), number, language, code))
    return found


@pytest.mark.parametrize("block", _shown(), ids=lambda block: f"{block.page}:{block.number}")
def test_a_block_that_is_not_run_makes_sense(block: Shown) -> None:
    CHECKS[block.language](block.code)


def _shell(code: str) -> None:
    for words in _lines(code):
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if not words:
            continue
        program, *given = words
        if program == "remuda":
            _command(given)
        elif program == "make":
            assert f"\n{given[0]}:" in (ROOT / "Makefile").read_text("utf-8"), words
        elif program == "pip":
            _pip(given)
        else:
            assert program in OTHER_PROGRAMS, words


def _lines(code: str) -> Iterator[list[str]]:
    """The words of each command, which may go on over several lines between quotes."""
    begun = ""
    for line in code.splitlines():
        begun += f"{line}\n"
        with suppress(ValueError):
            yield shlex.split(begun, comments=True)
            begun = ""
    assert begun == ""


def _command(given: list[str]) -> None:
    """Parsed to the end, and not invoked. Raises what a user would read."""
    command: click.Command = make_cli(Plugins)
    context = command.make_context("remuda", list(given))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)


def _pip(given: list[str]) -> None:
    assert given[0] in {"install", "wheel"}
    for extras in re.findall(r"^remuda\[([\w,]+)\]", "\n".join(given), re.MULTILINE):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        assert set(extras.split(",")) <= set(known)


def _toml(code: str) -> None:
    """It belongs to a package, or is a configuration in which no key is wrong as far as Remuda's own go."""
    if "project" not in tomllib.loads(code):
        with NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(code)
            file.flush()
            assert load_config(Path(file.name), {}) != load_config(None, {})


def _json(code: str) -> None:
    for line in code.splitlines():
        json.loads(line)


CHECKS: dict[str, Callable[[str], Any]] = {
    "sh": _shell,
    "toml": _toml,
    "json": _json,
    "yaml": yaml.safe_load,
    "python": lambda code: compile(code, "page", "exec"),
}


@pytest.mark.parametrize(
    "code", ["remuda serve --hots x", "remuda fly", "make tea", "pip install 'remuda[tea]'", "rm -rf x"]
)
def test_a_command_that_is_none_would_be_noticed(code: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        _shell(code)


def test_the_tree_shown_is_the_tree_there_is() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    tree = text.partition("\n## The tree\n")[2].partition("```\n")[2].partition("```")[0]
    folders: dict[int, Path] = {}
    seen = 0
    for line in tree.splitlines():
        names, indent = re.split(r" {2,}", line.strip())[0], len(line) - len(line.lstrip())
        if indent > 16:
            continue  # the second line of what is said
        above = max((depth for depth in folders if depth < indent), default=None)
        for name in names.split(", "):
            path = (ROOT if above is None else folders[above]) / name
            assert path.exists(), line
            seen += 1
            folders = {depth: folder for depth, folder in folders.items() if depth < indent} | {indent: path}
    assert seen > 35
