"""A scripted upstream for the tests of one file, as new for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from upstream import Upstream


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def up(shared: Upstream) -> Upstream:
    shared.heal()
    shared.requests.clear()
    shared.gone_away, shared.delay = 0, 0.0
    return shared
