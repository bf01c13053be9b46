"""The backend of examples/plugins/echo.py keeps the promises of a backend."""

from __future__ import annotations

import pytest

from remuda import Backend, ModelEntry
from remuda.model import parse_name
from remuda.model.entry import NO_WEIGHTS
from remuda.testing import BackendConformance

from .single_files import load_module


class TestEcho(BackendConformance):
    prompt = "one two three four five six seven eight nine ten " * 3

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        made = load_module("echo").EchoBackend()
        assert isinstance(made, Backend)
        return made

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls) -> ModelEntry:
        return ModelEntry(name=parse_name("echo"), weights=NO_WEIGHTS, format="echo")
