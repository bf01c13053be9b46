"""The wheel holds the three roots under their import names, all of them and nothing else."""

from __future__ import annotations

import ast
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest
from fresh_venv import built

ROOTS = ("core", "plugins", "backends")


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of the tree as it is, built by the installed hatchling: nothing is downloaded."""
    path = built(project, tmp_path_factory.mktemp("wheel"))
    assert path.match("remuda-*-py3-none-any.whl")
    return ZipFile(path)


def test_it_holds_the_packages_and_nothing_else(wheel: ZipFile, carried: list[str]) -> None:
    in_tree = {name.partition("/")[2] for name in carried if name.partition("/")[0] in ROOTS}
    in_wheel = {name for name in wheel.namelist() if not _is_metadata(name)}
    assert in_wheel == in_tree


def test_its_top_level_names_are_remudas_own(wheel: ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist() if not _is_metadata(name)}
    assert "remuda" in top
    assert not [name for name in top if name != "remuda" and not name.startswith("remuda_")]


def test_every_entry_point_leads_somewhere(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    parser = ConfigParser(delimiters="=")
    parser.read_string(wheel.read(name).decode())
    targets = {f"{group}:{key}": value for group in parser.sections() for key, value in parser[group].items()}
    assert "console_scripts:remuda" in targets
    dead = {key: target for key, target in targets.items() if not _exists(wheel, target)}
    assert not dead


def _is_metadata(name: str) -> bool:
    return name.partition("/")[0].endswith(".dist-info")


def _exists(wheel: ZipFile, target: str) -> bool:
    """Whether the module, and after a colon the name in it, is in the wheel."""
    module, _, attribute = target.partition(":")
    path = module.strip().replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        if name in wheel.namelist():
            if not attribute:
                return True
            tree = ast.parse(wheel.read(name))
            names = {getattr(node, "name", "") for node in tree.body}
            names |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
            return attribute.strip() in names
    return False
