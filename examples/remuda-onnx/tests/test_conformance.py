"""The suites that Remuda ships: what every engine and every backend must do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_onnx import pieces, write_tiny

from remuda.model import ModelEntry, parse_name
from remuda.testing import BackendConformance, EngineConformance
from remuda.wire.options import Options
from remuda_onnx.backend import OnnxBackend
from remuda_onnx.engine import OnnxEngine

ONE_THREAD = {"num_thread": 1}


class TestEngine(EngineConformance):
    """A byte-level vocabulary and a cache in float32."""

    engine = OnnxEngine
    options = ONE_THREAD

    @pytest.fixture(scope="session")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_tiny(tmp_path_factory.mktemp("bytes"))


class TestEngineOfPieces(EngineConformance):
    """SentencePiece's vocabulary, shared heads and a cache in float16."""

    engine = OnnxEngine
    options = ONE_THREAD

    @pytest.fixture(scope="session")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("pieces")
        return write_tiny(folder, pieces(), half=True, key_heads=2, optional=("position_ids", "num_logits_to_keep"))


class TestBackend(BackendConformance):
    options = Options(num_thread=1)

    @pytest.fixture(scope="session")
    @classmethod
    def backend(cls) -> OnnxBackend:
        return OnnxBackend()

    @pytest.fixture(scope="session")
    @classmethod
    def entry(cls, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
        weights = write_tiny(tmp_path_factory.mktemp("backend"))
        return ModelEntry(name=parse_name("tiny"), weights=weights, format="onnx")
