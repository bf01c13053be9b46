"""The files of a new plugin, filled in: what will be in its folder, and nothing written yet."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template
from typing import Final

from .kinds import KINDS
from .names import PluginName

__all__ = ["project_files"]

_ENDING: Final = ".in"
_ABOUT: Final = "about.md"
"""What the README says of this kind; no file of its own."""


def project_files(name: PluginName, kind: str) -> dict[str, str]:
    """The text of each file, by its path in the project's folder, with forward slashes."""
    root = files("remuda.cli.scaffold") / "files"
    texts = dict(_texts(root / "common")) | dict(_texts(root / kind))
    values = _values(name, kind)
    values["about"] = Template(texts.pop(_ABOUT)).substitute(values).strip()
    filled = {_filled(path, name): Template(text).substitute(values) for path, text in texts.items()}
    return dict(sorted(filled.items()))


def _values(name: PluginName, kind: str) -> dict[str, str]:
    """What stands for each placeholder."""
    told = KINDS[kind]
    needs = (f"remuda>={'.'.join(version('remuda').split('.')[:2])}", *told.needs)
    return {
        "name": name.name,
        "distribution": name.distribution,
        "package": name.package,
        "Class": name.stem,
        "description": told.title.format(name=name.name),
        "dependencies": ", ".join(f'"{need}"' for need in needs),
        "target": f"{name.package}.{told.target}",
    }


def _texts(folder: Traversable, before: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of every file under a folder of templates."""
    for each in folder.iterdir():
        if each.is_dir():
            yield from _texts(each, f"{before}{each.name}/")
        elif each.name.endswith(_ENDING):
            yield before + each.name.removesuffix(_ENDING), each.read_text("utf-8")


def _filled(path: str, name: PluginName) -> str:
    """Where a file goes. `dot-` stands for a dot: tools would take notice of a file that has one in this package."""
    parts = [name.package if part == "package" else part for part in path.split("/")]
    parts[-1] = parts[-1].replace("dot-", ".", 1) if parts[-1].startswith("dot-") else parts[-1]
    return "/".join(parts)
