"""Guesses at the next tokens change no text, however right or wrong they are."""

from __future__ import annotations

import pytest
from foretelling import Oracle
from llguidance import LLMatcher
from tiny_engine import PLAIN, TinyEngine, letters
from tiny_memories import BOS, EOS, write_exact_llama, write_tiny_window

from remuda import Constraint, Piece, Sequence
from remuda.wire import Options
from remuda_llamacpp.drafts.payoff import Payoff
from remuda_llamacpp.texts import writer

pytestmark = pytest.mark.usefixtures("load")

A, B = letters(60, 1), letters(60, 2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {
        "endless": write_exact_llama(folder / "endless.gguf"),
        "ends": write_exact_llama(folder / "ends.gguf", ends=True, seed=3),
        "window": write_tiny_window(folder / "window.gguf", window=32),
    }


def module_engines(models, **settings):
    engines = {kind: TinyEngine(model, **settings) for kind, model in models.items()}
    yield engines
    for engine in engines.values():
        engine.engine.close()


@pytest.fixture(scope="module")
def plains(models, load):
    yield from module_engines(models, context=600, parallel=1, **PLAIN)


@pytest.fixture(scope="module")
def guessers(models, load):
    yield from module_engines(models, context=600, parallel=2, draft=True, prefix_reuse=False)


@pytest.fixture
def plain(plains):
    return plains["endless"]


@pytest.fixture
def tiny(guessers):
    guessers["endless"].clear()
    return guessers["endless"]


@pytest.fixture
def foretell(monkeypatch):
    """`foretell(text, right, count)`: guess `count` tokens of what follows each time; the share `right` is right."""

    def set_up(text, right=0.8, count=16):
        monkeypatch.setattr(Payoff, "share", lambda self, chances, cost: [count] * len(chances))
        monkeypatch.setattr(writer, "Lookup", lambda room: Oracle(lambda prompt: text, right))

    return set_up


@pytest.fixture
def always(monkeypatch):
    """Guess as much as there is to guess, whatever it costs, going by the text itself."""
    monkeypatch.setattr(Payoff, "share", lambda self, chances, cost: [16] * len(chances))


def like(pattern):
    return {"constraint": Constraint(grammar=LLMatcher.grammar_from_regex(pattern))}


OPTIONS = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "top_k": 0, "seed": 7},
    "narrowly sampled": {"temperature": 0.4, "top_k": 10, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9, "seed": 11},
    "penalties": {"temperature": 0.9, "repeat_penalty": 1.6, "repeat_last_n": -1, "frequency_penalty": 0.7, "seed": 3},
    "a few penalties": {"repeat_penalty": 2.0, "repeat_last_n": 8, "presence_penalty": 1.0},
    "log probabilities": {"logprobs": 3, "temperature": 0.7},
    "a constraint": {**like("[a-f]{9} [0-9]{20}[x-z]*"), "logprobs": 1},
    "a constraint that ends": like("([a-f]{9} ){4}"),
    "a constraint cut short": like(r"([a-f]{9} ){40}\[z\]"),
    "short": {"most": 3},
    "one token": {"most": 1},
    "beyond 512 tokens and to the end": {"limit": 600, "prompt": letters(500, 3)},
}


@pytest.mark.parametrize("wish", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("right", [0.0, 0.8, 1])
def test_a_text_is_the_same_whatever_is_guessed(tiny, plain, foretell, wish, right):
    wish = {"most": 90, "prompt": A, **wish}
    prompt = wish.pop("prompt")
    expected = plain.alone(prompt, **wish)
    foretell(expected.tokens, right)
    before = tiny.engine.counters()
    assert tiny.alone(prompt, **wish).whole == expected.whole
    drafted, accepted = (tiny.count(name) - before[name] for name in ("tokens_drafted_total", "tokens_accepted_total"))
    if len(expected.tokens) > 10:
        assert accepted <= drafted
        assert drafted > 0
        assert accepted > len(expected.tokens) * {0.0: -1, 0.8: 0.4, 1: 0.9}[right] - 3
    assert tiny.cells() == [0, 0]


@pytest.mark.parametrize("kind", ["endless", "window"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_nor_does_it_matter_how_much_is_guessed(guessers, plains, foretell, kind, count):
    expected = plains[kind].alone(A, most=200)
    foretell(expected.tokens, 0.7, count)
    assert guessers[kind].alone(A, most=200).whole == expected.whole


@pytest.mark.parametrize("kind", ["endless", "window"])
def test_what_the_text_itself_foretells_changes_nothing(guessers, plains, always, kind):
    tiny = guessers[kind]
    accepted = tiny.count("tokens_accepted_total")
    prompt = A[:20] * 4
    wishes = {"most": 300}, {"most": 100, "temperature": 0.3, "seed": 5}, {"most": 100, **like("(abcdefghij){1,30}")}
    for wish in wishes:
        assert tiny.alone(prompt, **wish).whole == plains[kind].alone(prompt, **wish).whole
    assert tiny.count("tokens_accepted_total") > accepted + 50, "nothing was repeated"


@pytest.mark.parametrize("seed", range(6))
def test_an_end_within_a_guess_is_the_end(guessers, plains, foretell, seed):
    tiny, plain = guessers["ends"], plains["ends"]
    expected = plain.alone(letters(30, seed), most=400)
    assert expected.end.reason == "stop"
    foretell([*expected.tokens, EOS, *A], 1)
    said = tiny.alone(letters(30, seed), most=400)
    assert said.whole == expected.whole
    assert tiny.cells() == [0, 0]


def test_a_control_token_within_a_guess_is_nothing_special(tiny, plain, foretell):
    expected = plain.alone(A, most=30)
    text = expected.tokens[:10] + [BOS, EOS] * 20
    foretell(text, 1)
    assert tiny.alone(A, most=30).whole == expected.whole


@pytest.mark.parametrize("keep", [0, 10, 58])
def test_a_text_that_is_shifted_is_the_same(tiny, plain, foretell, keep):
    def shifted(engine):
        said = engine.submit(1, A[:30], limit=60, shift=True, keep=keep)
        while len(said.tokens) < 150 and said.end is None:
            engine.step()
            assert engine.engine.cells(1) < 60
        engine.engine.cancel(1)
        return said.tokens[:150]

    expected = shifted(plain)
    foretell(expected, 0.9)
    accepted = tiny.count("tokens_accepted_total")
    assert shifted(tiny) == expected
    if keep < 50:  # else there is never room for a guess
        assert tiny.count("tokens_accepted_total") > accepted + 40


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_who_leaves_in_between_leaves_nothing(models, plain, foretell, steps):
    tiny = TinyEngine(models["endless"], parallel=2, draft=True)
    expected = plain.alone(A, most=200)
    foretell(expected.tokens, 0.9)
    said = tiny.submit(1, A, most=200)
    tiny.step(steps)
    tiny.engine.interrupt(1)
    tiny.engine.cancel(1)
    kept = len(A) + len(said.tokens) - 1
    assert tiny.cells() == [kept, 0]
    assert tiny.count("cells_kept") == kept
    assert said.tokens == expected.tokens[: len(said.tokens)]
    # What was guessed wrong is not among what another text goes on from.
    again = tiny.alone(A + said.tokens, most=200 - len(said.tokens))
    assert again.cached == kept
    assert said.tokens + again.tokens == expected.tokens
    tiny.engine.close()


# --- when ---


def test_nothing_is_guessed_while_two_write_or_one_reads(tiny, plain, foretell):
    texts = [plain.alone(prompt, most=100) for prompt in (A, B)]
    foretell(texts[0].tokens, 1)
    one = tiny.submit(1, A, most=100)
    tiny.until_read(1)
    tiny.step()
    drafted = tiny.count("tokens_drafted_total")
    other = tiny.submit(2, B, most=20)
    while other.read is None:
        before = len(one.tokens)
        tiny.step()
        assert len(one.tokens) == before + 1
    while other.end is None:
        tiny.step()
    assert tiny.count("tokens_drafted_total") == drafted
    tiny.run()
    assert tiny.count("tokens_drafted_total") > drafted, "alone again it may"
    assert one.whole == texts[0].whole
    assert other.data == texts[1].data[:20]


def test_several_tokens_come_in_one_step(tiny, plain, foretell):
    expected = plain.alone(A, most=100)
    foretell(expected.tokens, 1)
    said = tiny.submit(1, A, most=100)
    steps = 0
    while said.end is None:
        tiny.step()
        steps += 1
    assert steps < 15
    assert said.whole == expected.whole


def test_switched_off_nothing_is_guessed(models, plain, foretell):
    expected = plain.alone(A)
    foretell(expected.tokens, 1)
    tiny = TinyEngine(models["endless"], draft=False)
    assert tiny.alone(A).whole == expected.whole
    assert tiny.count("tokens_drafted_total") == tiny.count("tokens_accepted_total") == 0
    tiny.engine.close()


def test_a_real_model_that_repeats_itself_says_the_same_sooner(load, driver, always):
    prompt = "A B C D E F G " * 6
    engine = load(context=128, parallel=1, settings={"draft": True})
    tokens = engine.tokenize(prompt)
    engine.submit(Sequence(id=1, tokens=tokens, options=Options(temperature=0.0), seed=1, limit=len(tokens) + 30))
    data, steps = b"", 0
    while len(data) < 50:
        data += b"".join(event.data for event in engine.step() if isinstance(event, Piece))
        steps += 1
    engine.cancel(1)
    assert driver.alone(prompt, most=30).data.startswith(data[:50])
    assert steps < 15
    assert engine.counters()["tokens_accepted_total"] > 15
