"""A draft model is loaded beside its model, counted, and freed with it; or refused with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_embedders import write_tiny_bert
from tiny_memories import write_exact_llama, write_tiny_mamba
from tiny_models import write_tiny_llama

from remuda import LoadSpec, Sequence
from remuda.backend import LoadWish
from remuda.errors import LoadFailed
from remuda.model import ModelEntry, parse_name
from remuda.wire import Options
from remuda_llamacpp import _native
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.memory.estimate import estimate


def spec(weights: Path, draft: Path | None, settings: dict[str, object] | None = None, **options: object) -> LoadSpec:
    return LoadSpec(
        name="tiny",
        weights=str(weights),
        draft=None if draft is None else str(draft),
        context=300,
        parallel=3,
        options=Options(num_thread=1, **options),  # type: ignore[arg-type]
        settings={"prefix_disk": False, **(settings or {})},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_exact_llama(tmp_path_factory.mktemp("model") / "model.gguf")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[object]]:
    """The models and contexts that there are; none may be left."""
    there: set[object] = set()

    def making(name: str) -> None:
        make = getattr(_native, name)

        def made(*given: object) -> object:
            handle = make(*given)
            there.update({handle} - {None})
            return handle

        monkeypatch.setattr(_native, name, made)

    def freeing(name: str) -> None:
        free = getattr(_native, name)
        monkeypatch.setattr(_native, name, lambda handle: (there.remove(handle), free(handle)))

    for name in ("model_load", "context_new"):
        making(name)
    for name in ("model_free", "context_free"):
        freeing(name)
    yield there
    assert not there


def test_it_is_freed_with_its_model(model: Path, held: set[object]) -> None:
    engine = LlamaEngine.load(spec(model, model))
    assert len(held) == 4
    engine.close()


@pytest.mark.parametrize(("settings", "options"), [({"draft": False}, {}), ({}, {"draft_num_predict": 0})])
def test_where_it_is_not_wanted_it_is_not_even_looked_at(
    model: Path, held: set[object], settings: dict[str, object], options: dict[str, object]
) -> None:
    engine = LlamaEngine.load(spec(model, Path("/nowhere/at/all"), settings, **options))
    assert len(held) == 2
    engine.close()


def test_what_cannot_take_back_a_guess_is_loaded_without(tmp_path: Path, model: Path, held: set[object]) -> None:
    engine = LlamaEngine.load(spec(write_tiny_mamba(tmp_path / "mamba.gguf"), model))
    assert len(held) == 2
    engine.close()


def _text(path: Path) -> Path:
    path.write_text("hello")
    return path


def _half(path: Path) -> Path:
    data = write_exact_llama(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _other_words(path: Path) -> Path:
    """As many tokens, and two of them the other way round."""
    data = write_exact_llama(path).read_bytes()
    one, two = (b"\1\0\0\0\0\0\0\0" + letter for letter in (b"A", b"B"))
    assert data.count(one + two) == 1
    path.write_bytes(data.replace(one + two, two + one))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "the weights of the draft model of tiny are missing"),
        (_text, "the weights of the draft model of tiny are not in GGUF"),
        (_half, "the draft model of tiny could not be loaded: llama.cpp refused the weights"),
        (_other_words, "the draft model of tiny does not fit it: token 65 of its vocabulary is not that of the model"),
        (
            write_tiny_llama,
            "does not fit it: its texts begin or end with another token; set draft_num_predict to 0",
        ),
        (
            write_tiny_bert,
            "the draft model of tiny does not fit it: its vocabulary has 70 tokens, that of the model 258",
        ),
        (write_tiny_mamba, "does not fit it: it is recurrent, and cannot take back a guess that was wrong"),
    ],
)
def test_what_is_no_draft_model_of_this_one_is_refused(
    tmp_path: Path, model: Path, held: set[object], make, words: str
) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LoadFailed) as caught:
        LlamaEngine.load(spec(model, make(tmp_path / "draft.gguf")))
    assert words in caught.value.message
    assert "/" not in caught.value.message


def test_it_may_have_a_few_tokens_more(tmp_path: Path, held: set[object]) -> None:
    small = write_tiny_llama(tmp_path / "small.gguf")
    large = write_tiny_llama(tmp_path / "large.gguf", user_tokens=[f"<{number}>" for number in range(100)])
    for one, other in ((small, large), (large, small)):
        engine = LlamaEngine.load(spec(one, other))
        assert engine._native.draft is not None
        assert engine._native.draft.vocabulary == 265
        engine.close()


def test_progress_never_goes_back(model: Path, held: set[object], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(LlamaEngine, "progress", told.append)
    LlamaEngine.load(spec(model, model)).close()
    assert told == sorted(told)
    assert any(0.2 < fraction < 0.6 for fraction in told)
    assert told[-1] == pytest.approx(1)


def test_its_memory_is_counted(model: Path) -> None:
    entry = ModelEntry(name=parse_name("tiny"), weights=model)
    drafting = ModelEntry(name=parse_name("tiny"), weights=model, draft=model)
    wish = LoadWish(context=300, parallel=3, options=Options(num_thread=1))
    alone, both = (estimate(each, wish, {}, gpu=False) for each in (entry, drafting))
    engine = LlamaEngine.load(spec(model, model))
    assert engine._native.draft is not None
    size, vocabulary = engine._native.draft.sizes["size"], 258 * 200 + 1 * 180
    assert both.memory - alone.memory == pytest.approx(size + vocabulary, rel=0.12)
    assert engine.sizes()["size"] > 2 * size
    assert both.mapped == 2 * alone.mapped
    for without in ({"draft": False}, {}):
        options = Options(draft_num_predict=None if without else 0)
        less = estimate(drafting, LoadWish(context=300, parallel=3, options=options), without, gpu=False)
        assert less.mapped == alone.mapped
    # What is told of buffers later on is the model's own.
    engine.submit(Sequence(id=1, tokens=[65] * 90, options=Options(), seed=1, limit=200, shift=False))
    before = engine.sizes()
    while engine._live:
        engine.step()
    assert engine.sizes() == before
    engine.close()
