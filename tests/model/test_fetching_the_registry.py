"""`.ci/registry`: Docker's registry where it can be had, and one line where it cannot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_TOOLS = ("bash", "cat", "chmod", "dirname", "env", "mkdir", "mv", "rm", "timeout")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With the script in it, and `bin` with what a bare machine has."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(Path(__file__).parents[2] / ".ci" / "registry", tmp_path / ".ci" / "registry")
    (tmp_path / "bin").mkdir()
    for tool in _TOOLS:
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"there is no {tool} here")
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def _add(project: Path, name: str, script: str) -> None:
    path = project / "bin" / name
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def _run(project: Path) -> str:
    environ = {"PATH": str(project / "bin"), "HOME": str(project)}
    done = subprocess.run(
        [project / ".ci" / "registry"], env=environ, check=True, timeout=60, capture_output=True, text=True
    )
    assert not done.stderr
    assert not (project / ".venv" / "registry.tmp").exists()
    return done.stdout


def test_without_apt_it_says_so_and_goes_on(project: Path) -> None:
    assert _run(project) == (
        "There is no docker-registry here, and it cannot be fetched: the tests that need it are skipped.\n"
    )


def test_a_registry_that_is_there_is_enough(project: Path) -> None:
    _add(project, "docker-registry", "true")
    _add(project, "apt-get", "exit 1")
    assert not _run(project)
    assert not (project / ".venv").exists()


@pytest.mark.parametrize("known", [True, False])
def test_the_package_is_unpacked_beside_the_system(project: Path, known: bool) -> None:
    # Where apt's own lists are empty it asks for them anew, into a folder of the project.
    asked = project / "asked"
    _add(
        project,
        "apt-get",
        f'echo "$*" >> {asked}\n'
        f'if [[ "$*" == *Dir::State* || {int(known)} == 1 ]]; then\n'
        '  if [[ "$*" == *download* ]]; then : > docker-registry_1_all.deb; fi\n'
        "else exit 100; fi",
    )
    program = "usr/bin/docker-registry"
    _add(
        project,
        "dpkg",
        f'mkdir -p "$3/usr/bin" && echo "echo version 1" > "$3/{program}" && chmod +x "$3/{program}"',
    )
    assert _run(project) == "Docker's registry, for the tests that need it: .venv/registry\n"
    assert (project / ".venv" / "registry" / program).exists()
    assert len(asked.read_text().splitlines()) == (1 if known else 3)
    assert not _run(project)
