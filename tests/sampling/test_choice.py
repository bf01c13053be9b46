"""Rows of logits become pieces: masked, drawn, told. No model gives them, but a list of tokens that it would like."""

from __future__ import annotations

import gc
import json
import random
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from llguidance import LLMatcher
from plain_vocabulary import END

from remuda import Constraint, Piece, Sequence
from remuda.sampling import Choice, GrammarFailed, Guide, Sampler, compile_constraint
from remuda.wire import Options

OBJECT = LLMatcher.grammar_from_json_schema('{"type": "object"}')
DIGITS = LLMatcher.grammar_from_regex("[0-9]{3}")


@pytest.fixture
def choose(vocabulary, grammars) -> Callable[..., Choice]:
    def make(grammar: str | None = None, *, visible: tuple[str, ...] = (), logprobs: int | None = None) -> Choice:
        sequence = Sequence(id=7, tokens=[0], options=Options(), seed=1, limit=9, logprobs=logprobs)
        shown, guide = vocabulary.visible(visible), None
        if grammar is not None:
            guide = Guide(compile_constraint(Constraint(grammar=grammar), grammars), vocabulary, shown)
        return Choice(sequence, guide, vocabulary, shown)

    return make


@pytest.fixture
def wish(vocabulary) -> Callable[..., np.ndarray]:
    """A row of logits in which these texts are the likeliest tokens, in this order."""

    def make(*texts: str) -> np.ndarray:
        logits = np.linspace(-1, -2, vocabulary.size, dtype=np.float32)
        for place, text in enumerate(texts):
            (token,) = vocabulary.tokenize(text, bos=False)
            logits[token] = 20 - place
        return logits

    return make


def greedy(choice: Choice, logits: np.ndarray) -> Piece | None:
    return choice.piece(logits, lambda: int(np.argmax(logits)))


def test_without_a_constraint_the_sampler_decides(choose, wish):
    choice = choose()
    piece = greedy(choice, wish("name", "value"))
    assert piece is not None
    assert (piece.id, piece.data, piece.logprob) == (7, b"name", None)
    assert greedy(choice, wish(END, "value")) is None
    assert not choice.ended
    assert choice.completion() == b""


def test_a_row_is_given_to_the_sampler_as_it_is(choose, wish):
    logits = wish("name")
    before = logits.copy()
    greedy(choose(), logits)
    assert logits.tolist() == before.tolist()


def test_what_the_grammar_forbids_is_passed_over(choose, wish):
    choice = choose(DIGITS)
    pieces = [greedy(choice, wish("name", END, "12", "1", "2")) for _ in range(2)]
    assert [piece.data for piece in pieces if piece] == [b"12", b"1"]
    assert choice.ended


def test_the_end_is_taken_where_the_text_matches(choose, wish):
    choice = choose(LLMatcher.grammar_from_regex("1*"))
    piece = greedy(choice, wish("name", "1", END))
    assert piece is not None
    assert piece.data == b"1"
    assert greedy(choice, wish("name", END, "1")) is None


def test_a_token_that_may_not_come_after_all_is_drawn_again(vocabulary, grammars, wish):
    # It closes what is free, and goes on with what the grammar does not begin with.
    constraint = Constraint(grammar=DIGITS, open="<a>", close="</b>", opened=True)
    guide = Guide(compile_constraint(constraint, grammars), vocabulary, {})
    sequence = Sequence(id=1, tokens=[0], options=Options(), seed=1, limit=9)
    choice, pieces, asked = Choice(sequence, guide, vocabulary, {}), [], []
    for texts in (["</"], ["b"], ["></", ">"], ["1"]):
        logits = wish(*texts)
        asked.append(0)

        def sample(logits: np.ndarray = logits) -> int:
            asked[-1] += 1
            return int(np.argmax(logits))

        pieces.append(choice.piece(logits, sample))
    assert b"".join(piece.data for piece in pieces) == b"</b>1"
    assert asked == [1, 1, 2, 1]


def test_a_sampler_that_wants_only_what_is_forbidden_is_overruled(choose, wish, vocabulary):
    (stubborn,) = vocabulary.tokenize("name", bos=False)
    piece = choose(DIGITS).piece(wish("1"), lambda: stubborn)
    assert piece is not None
    assert piece.data == b"1"


def test_where_no_token_can_come_the_text_ends_or_fails(choose, vocabulary):
    nothing = np.full(vocabulary.size, -np.inf, np.float32)
    assert greedy(choose(LLMatcher.grammar_from_regex("1*")), nothing.copy()) is None
    with pytest.raises(GrammarFailed, match="no token") as failed:
        greedy(choose(DIGITS), nothing)
    assert failed.value.status == 500


def test_log_probabilities_are_those_before_the_mask(choose, wish):
    piece = greedy(choose(DIGITS, logprobs=2), wish("name", END, "12"))
    assert piece is not None
    assert piece.logprob is not None
    assert piece.logprob.data == b"12"
    assert [one.data for one in piece.logprob.top] == [b"name", END.encode()]
    assert piece.logprob.top[0].logprob - piece.logprob.logprob == pytest.approx(2, abs=1e-5)


def test_control_tokens_have_a_text_where_it_is_asked_for(choose, wish):
    for visible, data in ((), b""), (("<tag_open>",), b"<tag_open>"):
        piece = greedy(choose(visible=visible), wish("<tag_open>"))
        assert piece is not None
        assert piece.data == data


@pytest.mark.parametrize("seed", range(8))
def test_random_logits_give_documents_that_parse(choose, vocabulary, seed):
    numbers, most = np.random.default_rng(seed), random.Random(seed).randrange(1, 80)
    choice, text = choose(OBJECT), b""
    options = Options(temperature=1.0, top_k=0, top_p=0.95, repeat_penalty=1.1)
    sampler = Sampler(Sequence(id=1, tokens=[0], options=options, seed=seed, limit=99), 99, vocabulary.size)
    for _ in range(most):
        logits = numbers.normal(0, 3, vocabulary.size).astype(np.float32)
        piece = choice.piece(logits, lambda row=logits: sampler.sample(row))
        if piece is None or choice.ended:
            text += piece.data if piece else b""
            break
        text += piece.data
    assert isinstance(json.loads(text + choice.completion()), dict)


def test_closing_frees_the_guide(choose):
    choice = choose(DIGITS)
    guide = weakref.ref(choice._guide)
    choice.close()
    gc.collect()
    assert guide() is None
