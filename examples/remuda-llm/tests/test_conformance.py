"""Remuda's own suite for backends: with the real llm-echo, a model that blocks, and one that gives vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import llm
import pytest

from remuda.model import ModelEntry, parse_name
from remuda.model.entry import NO_WEIGHTS
from remuda.testing import BackendConformance
from remuda_llm import Library, LlmBackend, LlmSettings

from .fakes import Lengths, Old, Registers

_NO_TOKENS = "llm does not tell how many tokens a text has: what is too long is for the model to say"


class _Suite(BackendConformance):
    id: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def library(cls) -> Library:
        return Library(LlmSettings(allow=[cls.id]))

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, library: Library) -> LlmBackend:
        return LlmBackend(library)

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls, library: Library) -> ModelEntry:
        [offer] = library.offers()
        return ModelEntry(
            name=parse_name(offer.name), weights=NO_WEIGHTS, format="llm", capabilities=offer.capabilities
        )


class TestEcho(_Suite):
    id = "echo"


class _Faked(_Suite):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def registered(cls) -> Iterator[None]:
        plugin = Registers(Old(), embeddings=[Lengths()])
        llm.load_plugins()
        llm.pm.register(plugin)
        yield
        llm.pm.unregister(plugin)

    @pytest.fixture(scope="class")
    @classmethod
    def library(cls, registered: None) -> Library:
        return Library(LlmSettings(allow=[cls.id]))


class TestBlocking(_Faked):
    id = "old"


class TestVectors(_Faked):
    id = "lengths"
    skips: ClassVar = {"test_a_long_input_is_cut_or_refused": _NO_TOKENS}
