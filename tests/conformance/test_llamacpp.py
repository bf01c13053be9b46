"""llama.cpp's engine and backend, on models of random weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest

from remuda.testing import BackendConformance, EngineConformance

if find_spec("llama_cpp") is None:
    pytest.skip("needs the extra llamacpp", allow_module_level=True)

from tiny_embedders import write_tiny_bert
from tiny_models import write_tiny_llama

from remuda.model import ModelEntry, parse_name
from remuda.wire import Options
from remuda_llamacpp.backend import LlamaCppBackend
from remuda_llamacpp.engine import LlamaEngine


class TestLlamaEngine(EngineConformance):
    engine = LlamaEngine
    options: ClassVar = {"num_thread": 1}

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny.gguf")


class TestLlamaEmbedder(EngineConformance):
    engine = LlamaEngine
    options: ClassVar = {"num_thread": 1}

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_tiny_bert(tmp_path_factory.mktemp("bert") / "tiny.gguf")


class TestLlamaBackend(BackendConformance):
    options = Options(num_thread=1)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> LlamaCppBackend:
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
        weights = write_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny.gguf")
        return ModelEntry(name=parse_name("tiny"), weights=weights)
