"""What the tests of this folder share."""

from __future__ import annotations

import pytest

from remuda.model.transfer import retry


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again soon."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)
