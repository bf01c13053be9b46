"""The tests of docs/reference/testing.md pass, and the page has what the test kit has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from remuda.testing import fixtures
from remuda.testing.conformance.backend.fixtures import BackendFixtures
from remuda.testing.conformance.engine.fixtures import EngineFixtures

from .conftest import ROOT, blocks

PAGE = "docs/reference/testing.md"


def test_the_tests_shown_pass(tmp_path: Path) -> None:
    for block in blocks("file=", PAGE):
        (tmp_path / block.mark.removeprefix("file=")).write_text(block.code)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|skipped)", ran.stdout)}
    assert counts["passed"] > 120
    assert counts["skipped"] < 80


def test_the_page_has_everything_that_may_be_set() -> None:
    text = (ROOT / PAGE).read_text("utf-8")
    for suite in (EngineFixtures, BackendFixtures):
        settable = [name for part in suite.__mro__ for name in vars(part).get("__annotations__", {})]
        assert len(settable) > 4
        assert [name for name in settable if f"`{name}`" not in text] == []


def test_the_page_has_every_fixture() -> None:
    text = (ROOT / PAGE).read_text("utf-8")
    assert [name for name in fixtures.__all__ if f"\n| `{name}` |" not in text] == []
