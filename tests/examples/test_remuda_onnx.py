"""The example `remuda-onnx`, installed from its wheel: its own tests pass there, and the server finds it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Venv

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "write-an-engine.md"


@pytest.fixture(scope="module")
def onnx(installed: Callable[[str], Venv]) -> Venv:
    return installed("remuda-onnx")


def test_its_own_tests_pass(onnx: Venv) -> None:
    """Both conformance suites among them, without a single failure and with no test left out by name."""
    told = onnx.run_tests()
    counted = re.search(r"(\d+) passed", told)
    assert counted is not None
    assert int(counted[1]) > 400, told
    assert "failed" not in told


def test_the_server_finds_it_through_its_entry_point(onnx: Venv) -> None:
    told = onnx.run("-m", "remuda", "plugins", "onnx")
    assert "backend onnx" in told
    assert "remuda-onnx" in told


def test_what_runs_there_is_the_wheels_code(onnx: Venv) -> None:
    told = onnx.run("-c", "import remuda_onnx.engine as it; print(it.__file__)").strip()
    assert told.startswith(str(onnx.folder))


def test_what_the_tutorial_tries_works(onnx: Venv, tmp_path: Path) -> None:
    """Its blocks marked `engine`, one after the other as a reader would run them."""
    blocks = re.findall(r"^```python engine\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    support = (
        f"import os, sys; sys.path.append({str(onnx.example / 'tests' / 'support')!r}); os.chdir({str(tmp_path)!r})"
    )
    told = onnx.run("-W", "error", "-c", "\n".join([support, *blocks]))
    assert "'model.onnx'" in told
    assert "Ended(" in told
