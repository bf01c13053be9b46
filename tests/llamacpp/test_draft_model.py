"""A draft model makes a text faster and never another one; it reads along a little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llguidance import LLMatcher
from tiny_memories import write_exact_llama

from remuda import Constraint, LoadSpec, Piece, Sequence
from remuda.wire import Options
from remuda_llamacpp.drafts import model as draft_model
from remuda_llamacpp.drafts.lookup import Lookup
from remuda_llamacpp.drafts.model import DraftModel
from remuda_llamacpp.drafts.payoff import Payoff
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.sizes import DRAFT_STRETCH

PROMPT = "hello, world. " * 4
CONTEXT = 512
LETTERS = Constraint(grammar=LLMatcher.grammar_from_regex("[A-Z]{0,200}"))


def opened(weights: Path, draft: Path | None = None, **options: object) -> LlamaEngine:
    given = Options(num_thread=1, **options)  # type: ignore[arg-type]
    spec = {"name": "tiny", "weights": str(weights), "draft": draft and str(draft), "options": given}
    settings = {"prefix_disk": False, "prefix_reuse": False}
    return LlamaEngine.load(LoadSpec(**spec, context=CONTEXT, parallel=2, settings=settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One, and another with the same vocabulary."""
    folder = tmp_path_factory.mktemp("draft")
    return write_exact_llama(folder / "one.gguf"), write_exact_llama(folder / "other.gguf", seed=2)


@pytest.fixture(scope="module")
def engines(models: tuple[Path, Path]) -> Iterator[dict[str, LlamaEngine]]:
    """The one without a draft model, with itself as such, and with the other."""
    one, other = models
    made = {"plain": opened(one), "same": opened(one, one), "other": opened(one, other)}
    yield made
    for engine in made.values():
        engine.close()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a draft model offers is drafted, be it worth it or not, and nothing is looked up."""
    monkeypatch.setattr(Payoff, "share", lambda self, chances, cost: [min(4, len(each)) for each in chances])
    monkeypatch.setattr(Lookup, "draft", lambda self, most: [])


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is too unlikely to be guessed."""
    monkeypatch.setattr(draft_model, "_LIKELY", 1e-9)


def write(engine: LlamaEngine, prompt: str = PROMPT, most: int = 60, **wish: object) -> tuple[list[Piece], int]:
    """What it says, and in how many steps; greedy unless options say otherwise."""
    tokens = engine.tokenize(prompt)
    fields = {name: wish.pop(name) for name in ("constraint", "logprobs", "owner") if name in wish}
    options = Options(**{"temperature": 0.0, **wish})  # type: ignore[arg-type]
    sequence = {"id": 1, "tokens": tokens, "options": options, "seed": 3, "limit": len(tokens) + most, "shift": False}
    engine.submit(Sequence(**sequence, **fields))  # type: ignore[arg-type]
    pieces, steps = [], 0
    while engine._live:
        pieces += [event for event in engine.step() if isinstance(event, Piece)]
        steps += 1
    return pieces, steps


def drafted(engine: LlamaEngine) -> tuple[float, float]:
    """Tokens that were guessed so far, and of these the right ones."""
    counters = engine.counters()
    return counters["tokens_drafted_total"], counters["tokens_accepted_total"]


# --- what it does to texts ---


@pytest.mark.usefixtures("eager", "sure")
@pytest.mark.parametrize("draft", ["same", "other"])
@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"temperature": 0.9, "top_k": 0},
        {"repeat_penalty": 1.3, "presence_penalty": 0.5},
        {"constraint": LETTERS, "temperature": 1.0},
        {"logprobs": 3},
    ],
    ids=["greedy", "drawn", "penalties", "constraint", "logprobs"],
)
def test_the_text_is_the_same(engines: dict[str, LlamaEngine], draft: str, wish: dict[str, object]) -> None:
    before, _ = drafted(engines[draft])
    pieces, _ = write(engines[draft], **wish)
    assert drafted(engines[draft])[0] > before + 20
    assert pieces == write(engines["plain"], **wish)[0]


@pytest.mark.usefixtures("eager", "sure")
def test_guesses_of_the_same_model_are_right_and_those_of_another_are_not(engines: dict[str, LlamaEngine]) -> None:
    shares = {}
    for name in ("same", "other"):
        guessed, right = drafted(engines[name])
        pieces, steps = write(engines[name])
        now = drafted(engines[name])
        shares[name] = (now[1] - right) / (now[0] - guessed)
        assert steps == len(pieces) - (now[1] - right)
    assert shares["same"] == 1
    assert shares["other"] < 0.3


@pytest.mark.usefixtures("eager")
def test_it_says_nothing_where_it_is_unsure(engines: dict[str, LlamaEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_model, "_LIKELY", 1.0)
    before = drafted(engines["same"])
    pieces, steps = write(engines["same"])
    assert (drafted(engines["same"]), steps) == (before, len(pieces))


@pytest.mark.usefixtures("eager", "sure")
def test_in_company_it_is_silent(engines: dict[str, LlamaEngine]) -> None:
    engine, before = engines["same"], drafted(engines["same"])
    tokens = engine.tokenize(PROMPT)
    for id in (1, 2):
        options = Options(temperature=0.0)
        engine.submit(Sequence(id=id, tokens=tokens, options=options, seed=1, limit=len(tokens) + 30))
    while len(engine._live) == 2:
        engine.step()
        assert drafted(engine) == before
        if engine.counters()["cells_live"] > 2 * len(tokens) + 30:
            engine.cancel(1)
    while drafted(engine) == before:
        assert engine._live, "it never drafted again"
        engine.step()
    engine.cancel(2)


@pytest.mark.parametrize("draft", ["same", "other"])
def test_the_text_is_the_same_where_cost_decides(engines: dict[str, LlamaEngine], draft: str) -> None:
    assert write(engines[draft], most=200)[0] == write(engines["plain"], most=200)[0]


@pytest.mark.usefixtures("eager", "sure")
@pytest.mark.parametrize("most", [1, 2, 16])
def test_no_draft_is_longer_than_was_asked_for(
    models: tuple[Path, Path], engines: dict[str, LlamaEngine], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(Payoff, "share", lambda self, chances, cost: [len(each) for each in chances])
    engine = opened(models[0], models[0], draft_num_predict=most)
    pieces, steps = write(engine)
    assert pieces == write(engines["plain"])[0]
    # The first step reads the prompt and says one token; each other one says one more than was guessed.
    assert steps == 2 + (len(pieces) - 2) // (most + 1)
    engine.close()


# --- its cache ---


@pytest.fixture
def model(engines: dict[str, LlamaEngine]) -> DraftModel:
    """Having read nothing."""
    model = engines["same"]._native.draft
    assert model is not None
    forget(model)
    return model


def forget(model: DraftModel) -> None:
    for owner in ("nobody", ""):
        model.serve(owner, 1)


def test_a_text_is_read_a_stretch_at_a_time(model: DraftModel) -> None:
    text = np.arange(200, dtype=np.int32)
    unread: list[int] = []
    while not unread or unread[-1] > DRAFT_STRETCH:
        unread.append(model.missing(text))
        model.read(text)
    assert unread == [200, 136, 72, 8]
    assert len(model.guess(text, 3)) <= 3
    assert model.cost(64) > model.cost(1) > 0


def test_what_was_guessed_wrong_is_read_anew(model: DraftModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_model, "_LIKELY", 1e-9)
    text = np.arange(40, dtype=np.int32)
    guesses = model.guess(text, 4)
    assert len(guesses) == 4
    for right in range(5):
        said = np.array([*text, *guesses[:right], 200], np.int32)
        assert model.missing(said) == (1 if right < 4 else 2)
        after = model.guess(said, 4)
        forget(model)
        assert model.missing(said) == len(said)
        assert model.guess(said, 4) == after
        model.guess(text, 4)


def test_what_was_read_for_one_owner_is_not_there_for_another(model: DraftModel) -> None:
    text = np.arange(40, dtype=np.int32)
    for owner, expected in (("a", 40), ("a", 1), ("b", 40), ("a", 40)):
        model.serve(owner, 1)
        assert model.missing(text) == expected
        model.guess(text, 2)


def test_times_that_were_stretched_are_soon_forgotten(model: DraftModel) -> None:
    for spent in (10**9, 2000, 3000):
        model._note(1, spent)
    assert model.cost(1) == 2250
    model._note(11, 2250 + 1000)
    assert model.cost(11) == 3250
