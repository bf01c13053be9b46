"""ctransformers' engine and backend, on models of random weights in both formats that it reads."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest

from remuda.testing import BackendConformance, EngineConformance

if find_spec("ctransformers") is None:
    pytest.skip("needs the extra ctransformers", allow_module_level=True)

from tiny_ggml import write_tiny_gpt2
from tiny_models import write_tiny_pieces

from remuda.model import ModelEntry, parse_name
from remuda.wire import Options
from remuda_ctransformers.backend import CTransformersBackend
from remuda_ctransformers.engine import CTransformersEngine


class TestGGUFEngine(EngineConformance):
    engine = CTransformersEngine
    options: ClassVar = {"num_thread": 1}

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_tiny_pieces(tmp_path_factory.mktemp("pieces") / "tiny.gguf")


class TestGGMLEngine(EngineConformance):
    engine = CTransformersEngine
    options: ClassVar = {"num_thread": 1}

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_tiny_gpt2(tmp_path_factory.mktemp("gpt2") / "tiny.bin")


class TestCTransformersBackend(BackendConformance):
    options = Options(num_thread=1)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> CTransformersBackend:
        return CTransformersBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
        weights = write_tiny_gpt2(tmp_path_factory.mktemp("gpt2") / "tiny.bin")
        return ModelEntry(name=parse_name("tiny"), weights=weights, format="ggml")
