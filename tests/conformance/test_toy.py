"""The suites can be passed: by an engine that keeps every promise, with nothing left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_engine import TakingTurns, ToyBackend, ToyEngine

from remuda.model import ModelEntry
from remuda.testing import BackendConformance, EngineConformance


class TestToyEngine(EngineConformance):
    engine = ToyEngine

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, toy: Path) -> Path:
        return toy


class TestTakingTurns(EngineConformance):
    """What needs batching needs several places, and no more."""

    engine = TakingTurns

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, toy: Path) -> Path:
        return toy


class TestToyBackend(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, toy_backend: ToyBackend) -> ToyBackend:
        return toy_backend

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls, toy_entry: ModelEntry) -> ModelEntry:
        return toy_entry
