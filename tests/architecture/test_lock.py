"""constraints.txt: every package pinned with hashes, usable with any index, in step with pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?P<marker> ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?P<more> \\)?")


@pytest.fixture
def lines(project: Path) -> list[str]:
    return [line for line in (project / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]


def test_every_line_is_a_pin_or_one_of_its_hashes(lines: list[str]) -> None:
    expects_hash = False
    for line in lines:
        found = HASH.fullmatch(line) if expects_hash else PIN.fullmatch(line)
        assert found, f"not {'a hash' if expects_hash else 'a pinned name with hashes'}: {line!r}"
        expects_hash = found["more"] is not None if expects_hash else True
    assert not expects_hash, "the last hash is missing"


def test_no_index_host_or_path_is_named(project: Path) -> None:
    text = (project / "constraints.txt").read_text("utf-8")
    assert not re.findall(r"\S*://\S*|index-url|find-links|\s/\S+|\b[\w-]+\.(?:org|com|net|io)\b", text)


def test_every_requirement_of_the_project_is_pinned(lines: list[str], settings: dict[str, Any]) -> None:
    pins = _pins(lines)
    for requirement in _requirements(settings):
        pinned = pins.get(canonicalize_name(requirement.name), [])
        assert pinned, f"{requirement} is not in constraints.txt; run `make lock`"
        outside = [str(version) for version in pinned if version not in requirement.specifier]
        assert not outside, f"{requirement} does not admit {outside} from constraints.txt; run `make lock`"


def _pins(lines: list[str]) -> dict[str, list[Version]]:
    pins: dict[str, list[Version]] = {}
    for found in filter(None, map(PIN.fullmatch, lines)):
        pins.setdefault(found["name"], []).append(Version(found["version"]))
    return pins


def _requirements(settings: dict[str, Any]) -> Iterator[Requirement]:
    project = settings["project"]
    groups = [
        settings["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *settings["dependency-groups"].values(),
    ]
    own = project["name"]
    for group in groups:
        yield from (found for each in group if isinstance(each, str) and (found := Requirement(each)).name != own)
