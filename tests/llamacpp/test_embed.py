"""Vectors of a tiny BERT against the same computed here, and what kinds of models embed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_embedders import Bert, write_tiny_bert, write_wide_llama
from tiny_models import write_tiny_llama

from remuda import LoadSpec, Sequence
from remuda.errors import BadRequest, LoadFailed
from remuda.wire import Options
from remuda_llamacpp.engine import LlamaEngine

TEXTS = [
    "the cat sat on the mat",
    "a dog",
    "",
    "cats ran under trees, slowly",
    "日本 né",
    "the the the",
    "a" * 300,
    "dogs sat on a tree under the mat " * 9,
]

Vector = NDArray[np.float32]


def unit(vector: Vector) -> Vector:
    return vector / np.linalg.norm(vector)


class Reference:
    """BERT as published: post-norm blocks, attention in both directions, GELU in its tanh form. Vectors of length 1."""

    def __init__(self, bert: Bert) -> None:
        self._weights = {name: weight.astype(np.float64) for name, weight in bert.weights.items()}
        self._bert = bert

    def __call__(self, tokens: list[int], *, pooling: str = "mean") -> Vector:
        weights = self._weights
        rows = weights["token_embd.weight"][tokens] + weights["token_types.weight"][0]
        rows = self._norm(rows + weights["position_embd.weight"][: len(tokens)], "token_embd_norm")
        for layer in range(self._bert.layers):
            block = f"blk.{layer}"
            rows = self._norm(rows + self._attention(rows, block), f"{block}.attn_output_norm")
            inner = self._linear(rows, f"{block}.ffn_up")
            inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
            rows = self._norm(rows + self._linear(inner, f"{block}.ffn_down"), f"{block}.layer_output_norm")
        return unit((rows.mean(axis=0) if pooling == "mean" else rows[0]).astype(np.float32))

    def _attention(self, rows: NDArray[np.float64], block: str) -> NDArray[np.float64]:
        count, wide = rows.shape
        heads = self._bert.heads

        def split(name: str) -> NDArray[np.float64]:
            return self._linear(rows, f"{block}.{name}").reshape(count, heads, wide // heads).transpose(1, 0, 2)

        query, key, value = split("attn_q"), split("attn_k"), split("attn_v")
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(wide // heads)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        return self._linear(mixed.transpose(1, 0, 2).reshape(count, wide), f"{block}.attn_output")

    def _linear(self, rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return rows @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


@pytest.fixture(scope="module")
def bert() -> Bert:
    return Bert()


@pytest.fixture(scope="module")
def engine(bert: Bert, tmp_path_factory: pytest.TempPathFactory) -> Any:
    engine = loaded(write_tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf", bert))
    yield engine
    engine.close()


def loaded(path: Path, context: int = 4096, **options: Any) -> LlamaEngine:
    given = Options(num_thread=1, **options)
    return LlamaEngine.load(LoadSpec(name="tiny", weights=str(path), context=context, parallel=4, options=given))


def tokens_of(engine: LlamaEngine, text: str) -> list[int]:
    return engine.tokenize_input(text, engine.context)[0]


def vectors_of(engine: LlamaEngine, inputs: list[list[int]]) -> list[Vector]:
    return [unit(np.frombuffer(data, np.float32)) for data in engine.embed(inputs)]


def test_tokens_have_the_special_ones_round_them(engine: LlamaEngine, bert: Bert) -> None:
    def spelled(text: str, limit: int = 64) -> tuple[list[str], int]:
        tokens, uncut = engine.tokenize_input(text, limit)
        return [bert.tokens[token] for token in tokens], uncut

    assert spelled("The cats sat") == (["[CLS]", "the", "cat", "##s", "sat", "[SEP]"], 6)
    assert spelled("") == (["[CLS]", "[SEP]"], 2)
    assert spelled("日本!") == (["[CLS]", "日", "本", "[UNK]", "[SEP]"], 5)
    assert spelled("the cats sat", 4) == (["[CLS]", "the", "cat", "[SEP]"], 6)
    assert spelled("cat " * 100_000) == (["[CLS]", *["cat"] * 62, "[SEP]"], 100_002)
    assert spelled("", 2) == (["[CLS]", "[SEP]"], 2)
    with pytest.raises(BadRequest, match=r"\Ainput after truncation exceeds maximum context length\Z"):
        engine.tokenize_input("cat", 2)


@pytest.mark.parametrize("text", TEXTS)
def test_alone_they_are_what_the_model_says(engine: LlamaEngine, bert: Bert, text: str) -> None:
    tokens = tokens_of(engine, text)
    [vector] = vectors_of(engine, [tokens])
    np.testing.assert_allclose(vector, Reference(bert)(tokens), atol=1e-3)


def test_in_company_they_are_the_same_and_in_order(engine: LlamaEngine, bert: Bert) -> None:
    reference = Reference(bert)
    inputs = [tokens_of(engine, text) for text in TEXTS if len(tokens_of(engine, text)) < 64]
    inputs = [*inputs, *reversed(inputs), inputs[0]]
    assert sum(map(len, inputs)) <= engine.embed_room
    for tokens, vector in zip(inputs, vectors_of(engine, inputs), strict=True):
        np.testing.assert_allclose(vector, reference(tokens), atol=1e-3)
        np.testing.assert_allclose(vector, vectors_of(engine, [tokens])[0], atol=1e-3)


def test_a_full_batch_of_the_shortest(engine: LlamaEngine, bert: Bert) -> None:
    tokens = tokens_of(engine, "")
    expected = Reference(bert)(tokens)
    vectors = vectors_of(engine, [tokens] * engine.embed_most)
    assert len(vectors) == engine.embed_most == 64
    for vector in vectors:
        np.testing.assert_allclose(vector, expected, atol=1e-3)


def test_pooling_is_the_models(bert: Bert, tmp_path: Path) -> None:
    for pooling, expected in ((2, "first"), (0, "mean"), (None, "mean")):
        engine = loaded(write_tiny_bert(tmp_path / f"{pooling}.gguf", bert, pooling=pooling))
        tokens = tokens_of(engine, TEXTS[0])
        np.testing.assert_allclose(
            vectors_of(engine, [tokens])[0], Reference(bert)(tokens, pooling=expected), atol=1e-3
        )
        engine.close()


def test_a_model_that_ranks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="tiny ranks texts"):
        loaded(write_tiny_bert(tmp_path / "rank.gguf", pooling=4))


def test_an_unknown_way_of_pooling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"tiny pools its vectors in a way that is not known \(77\)"):
        loaded(write_tiny_bert(tmp_path / "strange.gguf", pooling=77))


@pytest.mark.parametrize(
    ("context", "options", "length", "room"),
    [(4096, {}, 64, 256), (32, {}, 32, 256), (64, {"num_batch": 10}, 64, 10), (64, {"num_batch": 65536}, 64, 2048)],
)
def test_sizes(tmp_path: Path, context: int, options: dict[str, Any], length: int, room: int) -> None:
    engine = loaded(write_tiny_bert(tmp_path / "bert.gguf"), context, **options)
    assert (engine.context, engine.embed_room) == (length, room)
    longest = tokens_of(engine, "cat " * 100)
    assert len(longest) == length
    assert len(engine.embed([longest])) == 1
    assert engine.sizes()["size"] > 0
    engine.close()


def test_an_embedder_writes_no_text(engine: LlamaEngine) -> None:
    with pytest.raises(BadRequest, match='"tiny" does not support generate'):
        engine.submit(Sequence(id=1, tokens=[5], options=Options(), seed=0, limit=9))


def test_a_writer_gives_no_vectors(tmp_path: Path) -> None:
    engine = loaded(write_tiny_llama(tmp_path / "llama.gguf"))
    assert engine.embed_most == 0
    for call in (lambda: engine.tokenize_input("a", 9), lambda: engine.embed([[1]])):
        with pytest.raises(BadRequest, match="gives no embeddings"):
            call()
    engine.close()


@pytest.mark.parametrize("eos", [True, False])
def test_a_model_that_looks_back_only(tmp_path: Path, eos: bool) -> None:
    engine = loaded(write_wide_llama(tmp_path / "last.gguf", pooling=3, eos=eos))
    assert (engine.context, engine.embed_most, engine.embed_room) == (256, 64, 256)
    end = [257] if eos else []
    assert engine.tokenize_input("abc", 256) == ([97, 98, 99, *end], 3 + eos)
    assert engine.tokenize_input("x" * 1000, 256) == ([120] * (256 - eos) + end, 1000 + eos)
    texts = ["abc", "the quick brown fox", "x" * 100, "é😀", "abc", "y" * 60]
    inputs = [tokens_of(engine, text) for text in texts]
    together = vectors_of(engine, inputs)
    for _ in range(2):  # nothing is left behind in the cache
        for tokens, vector in zip(inputs, together, strict=True):
            np.testing.assert_allclose(vector, vectors_of(engine, [tokens])[0], atol=1e-3)
    np.testing.assert_allclose(together[0], together[4], atol=1e-3)
    assert not np.allclose(together[0], together[1], atol=1e-2)
    assert len(engine.embed([tokens_of(engine, "z" * 1000)])) == 1
    with pytest.raises(BadRequest, match='"tiny" does not support generate'):
        engine.submit(Sequence(id=1, tokens=[5], options=Options(), seed=0, limit=9))
    engine.close()


def test_a_text_without_a_token_needs_one(tmp_path: Path) -> None:
    engine = loaded(write_wide_llama(tmp_path / "last.gguf", pooling=3))
    with pytest.raises(BadRequest, match="holds no tokens"):
        engine.tokenize_input("", 256)
    engine.close()
