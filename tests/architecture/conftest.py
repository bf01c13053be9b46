"""What the tests of this folder share: the project's folder, the files that git carries, the settings."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
SUMMARY = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """pyproject.toml, decoded."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="session")
def carried() -> list[str]:
    """Files that git has or would add, relative to the project, with forward slashes.

    Where there is no repository (an unpacked source archive) they are all files outside of hidden folders and caches.
    """
    git = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    if git.returncode == 0 and (PROJECT / ".git").exists():
        names = git.stdout.decode().split("\0")
        return sorted(name for name in names if name and (PROJECT / name).is_file())
    return sorted(
        path.relative_to(PROJECT).as_posix()
        for path in PROJECT.rglob("*")
        if path.is_file() and not _left_by_tools(path.relative_to(PROJECT))
    )


def _left_by_tools(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts[:-1])


@pytest.fixture(scope="session")
def summary(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of pytest's report: figures worth seeing when nothing is wrong."""
    return request.config.stash.setdefault(SUMMARY, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(SUMMARY, []):
        terminalreporter.write_line(line)
