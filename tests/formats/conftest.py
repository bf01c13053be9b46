from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from remuda_plugins.formats.compiled import GrammarFormat, SchemaFormat

PATIENCE = 20.0
"""Seconds for what is no test of speed: the machine may be busy."""


@pytest.fixture(scope="module")
async def schemas() -> AsyncGenerator[SchemaFormat, None]:
    """The format of JSON Schemas, its child shared by the tests of a module."""
    format = SchemaFormat()
    yield format
    await format.close()


@pytest.fixture(scope="module")
async def grammars() -> AsyncGenerator[GrammarFormat, None]:
    format = GrammarFormat()
    yield format
    await format.close()


@pytest.fixture(autouse=True)
def never_blocking(no_blocking: None) -> None:
    """All of these tests run beside a guard against blocking calls."""
