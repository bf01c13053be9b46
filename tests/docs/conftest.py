"""The pages and their code blocks."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^```(\w+) ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(Struct, frozen=True):
    """A fenced block with a mark after its language, such as `python run`."""

    page: str
    number: int
    language: str
    mark: str
    code: str


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(mark: str, page: str = "") -> list[Block]:
    """The blocks whose mark begins so, of one page or of all."""
    found: list[Block] = []
    for path in pages():
        name = str(path.relative_to(ROOT))
        for number, match in enumerate(_BLOCK.finditer(path.read_text("utf-8")), 1):
            if match[2].startswith(mark) and page in {"", name}:
                found.append(Block(name, number, match[1], match[2], match[3]))
    return found


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    """docs/generate.py, which is in no package and finds its neighbours as a script does."""
    sys.path.append(str(ROOT / "docs"))
    return importlib.import_module("generate")
