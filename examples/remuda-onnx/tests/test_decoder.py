"""What is computed does not depend on how it came into the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_onnx import byte_level, pieces, write_tiny

from remuda import LoadSpec
from remuda_onnx.decoder import Decoder
from remuda_onnx.load import load
from remuda_onnx.native import Interrupted, Stop

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "half": {"half": True},
    "shared heads": {"key_heads": 2},
    "input_ids alone": {"optional": ()},
    "few logits": {"optional": ("attention_mask", "num_logits_to_keep")},
    "weights in a file of their own": {"external": True},
    "no folder inside": {"inside": False},
}
TOKENS = list(range(5, 45))


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def decoder(request: pytest.FixtureRequest, tmp_path: Path) -> Decoder:
    return _decoder(write_tiny(tmp_path / "tiny", **request.param))


def test_a_token_at_a_time_is_as_good_as_all_at_once(decoder: Decoder) -> None:
    whole, _ = decoder.evaluate(TOKENS, decoder.empty, Stop())
    cache = decoder.empty
    for token in TOKENS:
        logits, cache = decoder.evaluate([token], cache, Stop())
    assert cache.length == len(TOKENS)
    np.testing.assert_allclose(logits, whole, atol=1e-3)


@pytest.mark.parametrize("micro_batch", [7, 16])
def test_micro_batches_are_as_good_as_all_at_once(decoder: Decoder, micro_batch: int) -> None:
    whole, _ = decoder.evaluate(TOKENS, decoder.empty, Stop())
    cache = decoder.empty
    for begin in range(0, len(TOKENS), micro_batch):
        logits, cache = decoder.evaluate(TOKENS[begin : begin + micro_batch], cache, Stop())
    np.testing.assert_allclose(logits, whole, atol=1e-3)


def test_a_cache_that_was_cut_is_that_of_the_shorter_text(decoder: Decoder) -> None:
    _, cache = decoder.evaluate(TOKENS, decoder.empty, Stop())
    expected, _ = decoder.evaluate([*TOKENS[:10], 3], decoder.empty, Stop())
    cut = cache.cut(10)
    logits, _ = decoder.evaluate([3], cut, Stop())
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert cache.length == len(TOKENS), "the cache that was cut is another one"
    assert cut.cut(40) is cut


def test_every_token_of_the_text_counts(decoder: Decoder) -> None:
    """Else the tests above could see nothing."""
    whole, _ = decoder.evaluate(TOKENS, decoder.empty, Stop())
    for place in (0, 20, 38):
        other = [*TOKENS]
        other[place] = 3
        changed, _ = decoder.evaluate(other, decoder.empty, Stop())
        assert np.abs(changed - whole).max() > 1e-2


def test_a_stop_ends_a_run_and_leaves_the_cache(decoder: Decoder) -> None:
    _, cache = decoder.evaluate(TOKENS, decoder.empty, Stop())
    expected, _ = decoder.evaluate([3], cache, Stop())
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        decoder.evaluate([3], cache, stop)
    np.testing.assert_array_equal(decoder.evaluate([3], cache, Stop())[0], expected)


@pytest.mark.parametrize("tokenizer", [byte_level, pieces])
def test_the_vocabulary_is_as_large_as_its_tokens(tokenizer: Callable[[], Any], tmp_path: Path) -> None:
    """The model has three logits more, as many have, and none of them is ever to be a token."""
    loaded = load(_spec(write_tiny(tmp_path / "tiny", tokenizer())), lambda fraction: None)
    assert loaded.vocabulary.size == tokenizer().get_vocab_size()
    logits, _ = loaded.decoder.evaluate([1], loaded.decoder.empty, Stop())
    assert len(logits) == loaded.vocabulary.size + 3


def _decoder(weights: Path) -> Decoder:
    return load(_spec(weights), lambda fraction: None).decoder


def _spec(weights: Path) -> LoadSpec:
    return LoadSpec(name="tiny", weights=str(weights), context=256, parallel=2)
