"""A vocabulary that no engine is needed for, and grammars over it."""

from __future__ import annotations

import pytest
from plain_vocabulary import PlainVocabulary

from remuda.sampling import Grammars


@pytest.fixture(scope="session")
def vocabulary() -> PlainVocabulary:
    return PlainVocabulary()


@pytest.fixture(scope="session")
def grammars(vocabulary: PlainVocabulary) -> Grammars:
    return Grammars(vocabulary)
