"""A configuration file of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

File = Callable[[str], Path]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """`file(text)` writes the text to a file, and says where it is."""

    def write(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text, "utf-8")
        return path

    return write
