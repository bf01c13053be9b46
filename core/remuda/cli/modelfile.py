"""From a Modelfile to a request to create a model (Ollama API, "Modelfile").

What can be wrong with it is found here, before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct, field

from ..model.modelfile import Command
from ..model.parameters import KEEP_ALIVE, MODEL_TYPE, parameter_keep_alive, parameter_model_type
from ..wire import RULES, CreateRequest, ShowMessage, parse_options
from .model_files import expanded, files_at, named

__all__ = ["Recipe", "recipe_from"]

_DEPRECATED: Final = frozenset(
    {
        "f16_kv", "logits_all", "low_vram", "mirostat", "mirostat_eta", "mirostat_tau", "penalize_newline",
        "use_mlock", "vocab_only",
    }
)  # fmt: skip
_KINDS: Final = {rule.name: rule.kind for rule in RULES}
_CHECKS: Final = {KEEP_ALIVE: parameter_keep_alive, MODEL_TYPE: parameter_model_type}
"""Parameters that are no options, and what looks at them."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_LABEL: Final = r"[0-9A-Za-z.-]+"
_SEMVER: Final = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,2}}(?:-{_LABEL})?(?:\+{_LABEL})?", re.ASCII)


class Recipe(Struct, frozen=True):
    """A request that still lacks its files, and where they lie, by the names that the request gives them."""

    request: CreateRequest
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    adapters: dict[str, Path] = field(default_factory=dict[str, Path])
    drafts: dict[str, Path] = field(default_factory=dict[str, Path])
    warnings: tuple[str, ...] = ()


def recipe_from(commands: Iterable[Command], folder: Path) -> Recipe:
    """What the commands ask for; paths are seen from `folder`, where the Modelfile is.

    Raises a click error or `BadRequest` that names the value at fault.
    """
    reader = _Reader(folder)
    for command in commands:
        reader.read(command)
    return reader.recipe()


class _Reader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: dict[str, Any] = {}
        self._parameters: dict[str, Any] = {}
        self._licenses: list[str] = []
        self._messages: list[ShowMessage] = []
        self._from: list[Path] = []
        self._files: list[Path] = []
        self._adapters: list[Path] = []
        self._drafts: list[tuple[str, Path]] = []
        self._warnings: list[str] = []

    def read(self, command: Command) -> None:
        match command.name:
            case "from":
                self._read_from(command.value)
            case "adapter":
                self._adapters = files_at(self._existing(command))
            case "draft":
                self._drafts.append((command.value, self._existing(command)))
            case "parameter":
                self._read_parameter(command.key, command.value)
            case "license":
                self._licenses.append(command.value)
            case "message":
                self._messages.append(ShowMessage(command.key, command.value))
            case "requires":
                self._texts["requires"] = _version(command.value)
            case _:
                self._texts[command.name] = command.value

    def recipe(self) -> Recipe:
        sources = {path.resolve() for path in self._from}
        for text, path in self._drafts:
            if path.resolve() in sources:
                raise click.ClickException(f"DRAFT must not reference the same local path as FROM: {text}")
        request = CreateRequest(
            parameters=self._parameters or None,
            license=self._licenses or None,
            messages=self._messages or None,
            **self._texts,
        )
        drafts = [file for _, path in self._drafts for file in files_at(path)]
        return Recipe(request, named(self._files), named(self._adapters), named(drafts), tuple(self._warnings))

    def _read_from(self, text: str) -> None:
        path = expanded(text, self._folder)
        if path is None:
            self._texts["base"] = text
        else:
            self._from.append(path)
            self._files += files_at(path)

    def _existing(self, command: Command) -> Path:
        path = expanded(command.value, self._folder)
        if path is None:
            raise click.ClickException(f"the file {command.value!r} of {command.name.upper()} does not exist")
        return path

    def _read_parameter(self, name: str, text: str) -> None:
        if name in _DEPRECATED:
            self._warnings.append(f"warning: parameter {name} is deprecated")
            return
        if check := _CHECKS.get(name):
            check({name: text})
            self._parameters[name] = text
            return
        value = _parameter(name, text)
        parse_options({name: value})
        if _KINDS[name] == "strings":
            self._parameters.setdefault(name, []).append(value)
        else:
            self._parameters[name] = value


def _parameter(name: str, text: str) -> Any:
    """The value for JSON; its range is not looked at."""
    match _KINDS.get(name):
        case "integer" if _INTEGER.fullmatch(text):
            return int(text)
        case "integer":
            raise click.ClickException(f"invalid int value [{text}]")
        case "float32" if _FLOAT.fullmatch(text):
            return float(text)
        case "float32":
            raise click.ClickException(f"invalid float value [{text}]")
        case "boolean" if text in _BOOLEANS:
            return _BOOLEANS[text]
        case "boolean":
            raise click.ClickException(f"invalid bool value [{text}]")
        case "strings":
            return text
        case _:
            known = ", ".join(sorted([*_KINDS, *_CHECKS]))
            raise click.ClickException(f"unknown parameter '{name}'; there are: {known}")


def _version(text: str) -> str:
    version = text.removeprefix("v")
    if not _SEMVER.fullmatch(version):
        raise click.ClickException("requires must be a valid semver (e.g. 0.14.0)")
    return version
