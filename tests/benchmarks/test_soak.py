"""The soak notices what grows, and answers that are not whole."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from benchmarks.soak import Measure, growth
from benchmarks.soak_load import outcome_of, random_request
from benchmarks.soak_watch import Footprint, Sample, parse_engine

FILES = Measure("files", lambda sample: sample.server.files, 4)


def samples(files: list[int]) -> list[Sample]:
    return [Sample(10.0 * number, Footprint(files=count), Footprint(), 1, {}) for number, count in enumerate(files)]


def test_what_grows_after_warming_up_is_noticed() -> None:
    row = growth(samples([3, 9, *range(10, 40)]), FILES)
    assert row["verdict"] == "GROWS"
    assert row["slope"] == pytest.approx(60.0)


@pytest.mark.parametrize("files", [[1, 2, 5, 9, 9, *([20] * 20)], [20] * 25, [20, 24] * 12, list(range(40, 10, -1))])
def test_warming_up_noise_and_shrinking_are_no_growth(files: list[int]) -> None:
    assert growth(samples(files), FILES)["verdict"] == ""


def test_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="too few"):
        growth(samples([1] * 5), FILES)


BODY: dict[str, Any] = {"options": {"num_predict": 4}}
PART = {"response": "a", "done": False}
END = {"response": "", "done": True, "done_reason": "stop", "eval_count": 1}


def lines(*parts: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(part)}\n" for part in parts)


def test_a_whole_answer_counts() -> None:
    outcome = outcome_of(200, lines(PART, END), BODY)
    assert (outcome.answered, outcome.tokens, outcome.faults) == (1, 1, [])
    chat = {"message": {"content": "{}"}, "done": True, "done_reason": "length", "eval_count": 4}
    assert outcome_of(200, lines(chat), {**BODY, "format": "json"}).faults == []


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, lines({"error": "no"})),
        (200, ""),
        (200, lines(PART)),
        (200, lines(END, END)),
        (200, lines(END, PART)),
        (200, lines(PART, {"error": "no"})),
        (200, lines(PART, {**END, "done_reason": "load"})),
        (200, lines(PART, {**END, "eval_count": 5})),
        (200, lines(PART) + '{"response": "'),
    ],
)
def test_any_other_answer_is_a_fault(status: int, text: str) -> None:
    outcome = outcome_of(status, text, BODY)
    assert outcome.answered == 0
    assert len(outcome.faults) == 1


def test_a_format_that_does_not_hold_is_a_fault() -> None:
    assert outcome_of(200, lines(PART, END), {**BODY, "format": "json"}).faults


def test_requests_are_of_all_kinds() -> None:
    chance, known = Random(1), list[str]()
    made = [random_request(chance, "tiny", known) for _ in range(400)]
    assert {kind for kind, _, _ in made} == {"short", "shared", "again", "middling", "long"}
    assert {path for _, path, _ in made} == {"/api/generate", "/api/chat"}
    assert {"format", "logprobs"} <= {key for _, _, body in made for key in body}
    assert len(known) <= 20


def test_figures_of_all_models_are_added_up() -> None:
    page = (
        "# TYPE remuda_engine gauge\n"
        'remuda_engine{model="a:latest",name="cells_live"} 12.0\n'
        'remuda_engine{model="b",name="cells_live"} 3\n'
        'remuda_engine{model="b",name="cells_kept"} 1e3\n'
        'remuda_requests_total{name="x"} 5\n'
    )
    assert parse_engine(page) == {"cells_live": 15.0, "cells_kept": 1000.0}
    assert parse_engine("") == {}
