"""Log probabilities are the model's own: before options, before a constraint."""

from __future__ import annotations

import math

import numpy as np
import pytest
from llguidance import LLMatcher

from remuda import Constraint
from remuda_llamacpp import _native
from remuda_llamacpp.sampler import logits_of

START = "The capital of France is"


@pytest.fixture(scope="module")
def reader(load):
    """Log probabilities of every token after a text, computed on an engine of its own without any of its sampling."""
    engine = load(context=128, parallel=1)

    def read(tokens: list[int], prompt: int) -> list[np.ndarray]:
        rows = []
        for held, count in [(0, prompt), *((held, 1) for held in range(prompt, len(tokens)))]:
            batch = engine._batch.prompt(np.array(tokens[held : held + count], np.int32), held, 0, last=True)
            assert _native.decode(engine._context, batch) == 0
            logits = logits_of(engine._context, count - 1, engine.vocabulary).astype(np.float64)
            rows.append(logits - logits.max() - math.log(np.exp(logits - logits.max()).sum()))
        _native.memory_remove(engine._memory, 0, -1, -1)
        return rows

    return read


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.5, "top_k": 0, "seed": 3},
        {"repeat_penalty": 1.5, "temperature": 0.8, "top_p": 0.5},
        {"constraint": Constraint(grammar=LLMatcher.grammar_from_regex("[xyz]+ [0-9]+ [A-Z]+"))},
    ],
)
def test_they_are_those_of_a_separate_decode(driver, reader, options):
    prompt = driver.engine.tokenize(START)
    text = driver.alone(prompt, most=8, logprobs=4, **options)
    assert len(text.logprobs) == len(text.tokens) == 8
    rows = reader(prompt + text.tokens[:-1], len(prompt))
    for told, token, row in zip(text.logprobs, text.tokens, rows, strict=True):
        assert told.data == driver.engine._vocabulary.spelled(token)
        assert told.logprob == pytest.approx(row[token], rel=1e-4, abs=1e-5)
        best = np.argsort(-row, kind="stable")[:4]
        assert [one.data for one in told.top] == [driver.engine._vocabulary.spelled(int(other)) for other in best]
        assert [one.logprob for one in told.top] == pytest.approx(row[best], rel=1e-4, abs=1e-5)


def test_a_forbidden_token_may_be_the_likeliest(driver):
    text = driver.alone(START, constraint=Constraint(grammar='start: " London"'), logprobs=1)
    assert text.data == b" London"
    assert text.logprobs[0].top[0].data == b" Paris"
    assert text.logprobs[0].logprob < text.logprobs[0].top[0].logprob


@pytest.mark.parametrize("most", [0, 1, 20])
def test_as_many_as_were_asked_for_likeliest_first(driver, most):
    text = driver.alone(START, most=3, logprobs=most)
    for told in text.logprobs:
        values = [one.logprob for one in told.top]
        assert len(values) == most
        assert values == sorted(values, reverse=True)
        assert all(not one.top for one in told.top)


def test_none_are_told_where_none_were_asked_for(driver):
    assert driver.alone(START, most=3).logprobs == []


def test_telling_them_changes_no_text(driver):
    plain = driver.alone(START, temperature=1.0, seed=4).tokens
    assert driver.alone(START, temperature=1.0, seed=4, logprobs=20).tokens == plain


def test_a_control_token_is_told_by_its_text(driver):
    text = driver.alone("<|im_start|>user\nHi<|im_end|>", most=3, logprobs=3)
    told = [one.data for logprob in text.logprobs for one in [logprob, *logprob.top]]
    assert b"<|im_start|>" in told
    assert b"" not in told
