"""What an author says that an engine or a backend honestly cannot do, by the names of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

__all__ = ["Skips"]


class Skips:
    """The beginning of both suites."""

    skips: ClassVar[Mapping[str, str]] = {}
    """Names of tests that are left out, each with the reason why it cannot be otherwise."""

    @pytest.fixture(autouse=True)
    def leave_out(self, request: pytest.FixtureRequest) -> None:
        """Skip what `skips` names. Not the test of the names themselves."""
        name = getattr(request.function, "__name__", "")
        if name in self.skips and name != "test_every_skip_is_a_test_and_has_a_reason":
            pytest.skip(self.skips[name])

    def test_every_skip_is_a_test_and_has_a_reason(self) -> None:
        """A name that is misspelt, or of a test that is gone, would leave nothing out, or the wrong thing one day."""
        unknown = [name for name in self.skips if not name.startswith("test_") or not hasattr(self, name)]
        assert not unknown, "`skips` names what is no test of this suite"
        assert all(reason.strip() for reason in self.skips.values()), "`skips` leaves out a test without a reason"
