"""LoRA adapters: applied when the model is loaded, whole and in order, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_embedders import write_tiny_adapter, write_tiny_bert
from tiny_models import write_tiny_llama

from remuda import LoadSpec, Piece, Sequence
from remuda.errors import LoadFailed
from remuda.wire import Options
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.sampler import logits_of


def loaded(path: Path, *adapters: Path) -> LlamaEngine:
    spec = LoadSpec(
        name="tiny",
        weights=str(path),
        context=64,
        parallel=1,
        options=Options(num_thread=1),
        adapters=[str(adapter) for adapter in adapters],
    )
    return LlamaEngine.load(spec)


def logits(path: Path, *adapters: Path) -> NDArray[np.float32]:
    """Of the token after a prompt."""
    engine = loaded(path, *adapters)
    tokens = engine.tokenize("hello, world")
    engine.submit(Sequence(id=1, tokens=tokens, options=Options(temperature=0), seed=0, limit=64))
    assert any(isinstance(event, Piece) for event in engine.step())
    found = logits_of(engine._context, len(tokens) - 1, engine.vocabulary).copy()
    engine.close()
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("lora") / "model.gguf")


def test_an_adapter_changes_what_the_model_says(model: Path, tmp_path: Path) -> None:
    plain = logits(model)
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf")
    other = write_tiny_adapter(tmp_path / "other.gguf", seed=6)
    changed = logits(model, adapter)
    assert np.abs(changed - plain).max() > 0.1
    np.testing.assert_array_equal(logits(model, adapter), changed)
    np.testing.assert_array_equal(logits(model), plain)
    both = logits(model, adapter, other)
    assert np.abs(both - changed).max() > 0.1
    assert np.abs(both - logits(model, other)).max() > 0.1


def test_an_adapter_of_zeros_changes_nothing(model: Path, tmp_path: Path) -> None:
    zero = write_tiny_adapter(tmp_path / "zero.gguf", zero=True)
    np.testing.assert_allclose(logits(model, zero), logits(model), atol=1e-5)


def test_an_adapter_of_an_embedder(tmp_path: Path) -> None:
    bert = write_tiny_bert(tmp_path / "bert.gguf")
    adapters = [
        write_tiny_adapter(tmp_path / f"{zero}.gguf", width=32, architecture="bert", zero=zero)
        for zero in (False, True)
    ]

    def vector(*applied: Path) -> NDArray[np.float32]:
        engine = loaded(bert, *applied)
        [data] = engine.embed([engine.tokenize_input("the cat sat", 64)[0]])
        engine.close()
        return np.frombuffer(data, np.float32)

    plain = vector()
    assert np.abs(vector(adapters[0]) - plain).max() > 0.01
    np.testing.assert_allclose(vector(adapters[1]), plain, atol=1e-5)


def _text(path: Path) -> Path:
    path.write_text("no weights at all")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: write_tiny_adapter(path, width=32), "tiny could not be loaded: an adapter does not fit it"),
        (lambda path: write_tiny_adapter(path, architecture="gemma"), "an adapter does not fit it.*mismatch"),
        (lambda path: write_tiny_adapter(path, kind="prompt"), "an adapter does not fit it.*lora"),
        (write_tiny_llama, "an adapter does not fit it"),
        (write_tiny_bert, "an adapter does not fit it"),
        (lambda path: path, "the weights of an adapter of tiny are missing"),
        (_text, "the weights of an adapter of tiny are not in GGUF"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(model: Path, tmp_path: Path, make, words: str) -> None:  # type: ignore[no-untyped-def]
    adapter = make(tmp_path / "adapter.gguf")
    with pytest.raises(LoadFailed, match=words) as caught:
        loaded(model, adapter)
    assert str(tmp_path) not in caught.value.message


def test_half_an_adapter_is_refused(model: Path, tmp_path: Path) -> None:
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf")
    data = adapter.read_bytes()
    adapter.write_bytes(data[: len(data) // 2])
    with pytest.raises(LoadFailed, match="an adapter does not fit it"):
        loaded(model, adapter)
