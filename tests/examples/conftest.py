"""The distributions under `examples/`, each installed from its own wheel, as a stranger would install it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fresh_venv import built, made, ran
from msgspec import Struct

EXAMPLES = Path(__file__).parents[2] / "examples"


class Venv(Struct, frozen=True):
    """A virtual environment with one distribution of its own, which sees what is installed round the tests."""

    python: Path
    example: Path
    """The distribution's folder under `examples/`."""

    @property
    def folder(self) -> Path:
        return self.python.parents[1]

    def run(self, *args: str, timeout: float = 120.0) -> str:
        """What `python *args` writes to stdout. Fails, with all that it wrote, where it fails."""
        return ran(self.python, *args, timeout=timeout)

    def run_tests(self, *args: str) -> str:
        """The example's own tests, with the code that is installed here and with the example's own settings."""
        settings = ("-c", str(self.example / "pyproject.toml"), "--rootdir", str(self.example))
        return self.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *settings, str(self.example / "tests"), *args)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Venv]:
    """`installed("remuda-llm")`: that example, built and installed once for all tests. Nothing is downloaded."""
    known: dict[str, Venv] = {}

    def get(name: str) -> Venv:
        if name not in known:
            folder, example = tmp_path_factory.mktemp(name), EXAMPLES / name
            known[name] = Venv(made(folder / "venv", [built(example, folder)]), example)
        return known[name]

    return get
