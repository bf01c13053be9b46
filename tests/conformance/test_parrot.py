"""The suite of a backend can be passed by one whose models take conversations, with only that left out which is about
prompts and their tokens.
"""

from __future__ import annotations

import pytest
from parrot import PARROT, ParrotBackend

from remuda.model import ModelEntry
from remuda.testing import BackendConformance


class TestParrotBackend(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> ParrotBackend:
        return ParrotBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls) -> ModelEntry:
        return PARROT
