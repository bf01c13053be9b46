"""The kit as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from remuda import testing

IMPORT = "import remuda.testing, sys; print(*{name.partition('.')[0] for name in sys.modules})"


def test_importing_it_imports_neither_pytest_nor_a_web_framework() -> None:
    """A runner imports it for the scripted engine."""
    ran = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert not {"pytest", "_pytest", "quart", "hypercorn"} & set(ran.stdout.split())


@pytest.mark.parametrize("name", testing.__all__)
def test_each_of_its_names_is_there(name: str) -> None:
    assert getattr(testing, name).__name__ == name


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="Conformances"):
        _ = testing.Conformances  # type: ignore[attr-defined]


@pytest.mark.parametrize("suite", [testing.EngineConformance, testing.BackendConformance])
def test_every_test_says_which_promise_it_is_about(suite: type) -> None:
    tests = [getattr(suite, name) for name in dir(suite) if name.startswith("test_")]
    assert len(tests) > 30
    assert [test.__name__ for test in tests if not test.__doc__] == []
