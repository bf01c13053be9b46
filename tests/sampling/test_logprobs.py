"""Log probabilities of one place."""

from __future__ import annotations

import math

import numpy as np
import pytest

from remuda.sampling import Logprobs
from remuda.sampling.logprobs import likeliest

LOGITS = np.array([1.0, 3.0, 2.0, 3.0, 2.0, 2.0, -np.inf], np.float32)


def test_equal_ones_come_in_the_order_of_their_ids(vocabulary):
    assert likeliest(LOGITS, 4).tolist() == [1, 3, 2, 4]
    assert likeliest(LOGITS, 20).tolist() == [1, 3, 2, 4, 5, 0, 6]
    assert likeliest(LOGITS, 0).tolist() == []
    assert [one.data for one in Logprobs(LOGITS).of(0, 4, vocabulary).top] == [b"\1", b"\3", b"\2", b"\4"]


def test_probabilities_add_up_to_one(vocabulary):
    told = Logprobs(LOGITS)
    assert sum(math.exp(told.of(token, 0, vocabulary).logprob) for token in range(7)) == pytest.approx(1)
    assert told.of(1, 0, vocabulary).logprob - told.of(2, 0, vocabulary).logprob == pytest.approx(1)


def test_what_is_impossible_has_a_number_that_json_has(vocabulary):
    assert math.isfinite(Logprobs(LOGITS).of(6, 0, vocabulary).logprob)


def test_what_is_written_into_the_row_later_changes_nothing(vocabulary):
    logits = LOGITS.copy()
    told = Logprobs(logits)
    before = told.of(1, 3, vocabulary)
    logits[:] = -np.inf
    assert told.of(1, 3, vocabulary) == before
