"""docs/tutorial/write-a-backend.md, typed by somebody who has nothing but Python: from an empty folder to an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fresh_venv import built

from .conftest import ROOT, blocks
from .walking import Walk, edited

PAGE = "docs/tutorial/write-a-backend.md"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Remuda's wheel, of the tree as it is: nothing else of the tree is used."""
    return built(ROOT, tmp_path / "wheels").parent


def test_the_tutorial_ends_in_a_model_that_is_served(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "reader").mkdir()
    with Walk(tmp_path / "reader", wheels) as walk:
        for block in blocks("", PAGE):
            walk.take(block)
        for module in ("remuda", "remuda_parrot"):
            assert "site-packages" in walk.origin(module).relative_to(tmp_path / "reader" / ".venv").parts


def test_an_edit_takes_the_place_of_what_has_its_name() -> None:
    text = "import a\n\nX = 1\n\n\n@a.b\ndef f():\n    return 1\n\n\nclass C:\n    pass\n"
    after = "import a\n\nX = 3\n\n\ndef f():\n    return 2\n\n\nclass C:\n    pass\n"
    assert edited(text, "def f():\n    return 2\n\n\nX = 3\n") == after
    with pytest.raises(ValueError):
        edited(text, "def g(): ...")
