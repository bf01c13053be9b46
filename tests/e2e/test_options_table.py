"""Every option: its type, its range, what it does to the demo model's greedy answer (Ollama API, "Options")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tiny_models import write_tiny_llama

from remuda.config import Config, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer
from remuda.wire import RULES

from .conftest import DEMO
from .tables import Table

INTEGERS = {
    "num_ctx": (0, 2**31 - 1),
    "num_batch": (1, 65536),
    "num_gpu": (-1, 10_000),
    "main_gpu": (0, 1024),
    "num_thread": (0, 1024),
    "draft_num_predict": (0, 1024),
    "num_keep": (-1, 2**31 - 1),
    "seed": (-(2**63), 2**63 - 1),
    "num_predict": (-2, 2**31 - 1),
    "top_k": (-1, 2**31 - 1),
    "repeat_last_n": (-1, 2**31 - 1),
}
FLOATS = {
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "temperature": (0, 100),
    "repeat_penalty": (0.01, 100),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
}
NUMBERS = INTEGERS | FLOATS
EVERY = [*NUMBERS, "use_mmap", "stop"]
DEFAULTS: dict[str, Any] = {
    "num_keep": 4,
    "seed": -1,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "stop": [],
    "num_gpu": -1,
    "num_thread": 0,
}
PROMPT = "Once upon a time"
HOT = {"temperature": 1.5, "top_k": 0, "top_p": 1}


@pytest.fixture
def demo(server: LiveServer) -> Iterator[Table]:
    with closing(Table(server, "/api/generate")) as table:
        yield table


@pytest.fixture(scope="module")
def greedy(server: LiveServer) -> dict[str, Any]:
    """The answer without options, but for its length."""
    with closing(Table(server, "/api/generate")) as table:
        return _answer(table)


def _answer(table: Table, prompt: str = PROMPT, **options: Any) -> dict[str, Any]:
    """`raw`, so that the prompt is the model's own to continue."""
    given = {"temperature": 0, "num_predict": 12, **options}
    return table.whole(model=DEMO, prompt=prompt, raw=True, options=given)


def _told(reply: dict[str, Any]) -> tuple[str, int, str]:
    return reply["response"], reply["eval_count"], reply["done_reason"]


def test_the_table_is_complete() -> None:
    assert sorted(EVERY) == sorted(rule.name for rule in RULES)


@pytest.mark.parametrize("option", EVERY)
@pytest.mark.parametrize("value", ["0.7", True, [1], {}, "yes"])
def test_an_option_of_the_wrong_type_is_refused(demo: Table, option: str, value: Any) -> None:
    if (option, value) in [("use_mmap", True), ("stop", "0.7"), ("stop", "yes")]:
        assert not demo.whole(model=DEMO, prompt="hi", _debug_render_only=True, options={option: value})["done"]
        return
    kind = "integer" if option in INTEGERS else "float32" if option in FLOATS else "boolean"
    text = f'option "{option}" must be of type {kind}'
    if option == "stop":
        text = f'option "stop" must be of {"an array of strings" if value == [1] else "type array"}'
    assert demo.refused(model=DEMO, prompt="hi", options={option: value}) == text
    assert demo.refused(model=DEMO, options={option: value}) == text


@pytest.mark.parametrize("option", NUMBERS)
def test_an_option_out_of_its_range_is_refused_with_the_range(demo: Table, option: str) -> None:
    low, high = NUMBERS[option]
    for value in (low - 1, high + 1, 2**63, -(2**64)):
        text = demo.refused(model=DEMO, prompt="hi", options={option: value})
        assert text.startswith(f'option "{option}" is {value}, out of range: it must be from ')
    body = f'{{"model": "{DEMO}", "prompt": "hi", "options": {{"{option}": 1e999}}}}'
    assert f'option "{option}" must be a finite number' in demo.post(body.encode()).json()["error"]
    body = body.replace("1e999", "NaN")
    assert demo.post(body.encode()).status_code == 400


@pytest.mark.parametrize("option", EVERY)
def test_null_is_skipped(demo: Table, greedy: dict[str, Any], option: str) -> None:
    options = {"temperature": 0, "num_predict": 12}
    if option in options:
        options.pop(option)
        shown = demo.whole(model=DEMO, prompt="hi", options={option: None, **options}, _debug_render_only=True)
        assert not shown["done"]
    else:
        assert _told(_answer(demo, **{option: None})) == _told(greedy)


@pytest.mark.parametrize("option", DEFAULTS)
def test_a_default_written_out_changes_nothing(demo: Table, greedy: dict[str, Any], option: str) -> None:
    assert _told(_answer(demo, **{option: DEFAULTS[option]})) == _told(greedy)


@pytest.mark.parametrize(
    "option", ["numa", "mirostat", "mirostat_tau", "penalize_newline", "low_vram", "f16_kv", "tfs_z", "nonsense"]
)
def test_an_unknown_option_is_ignored(demo: Table, greedy: dict[str, Any], option: str) -> None:
    assert _told(_answer(demo, **{option: "x"})) == _told(greedy)


def test_a_fraction_of_an_integer_is_dropped(demo: Table) -> None:
    assert _answer(demo, num_predict=3.9)["eval_count"] == 3


def test_temperature_zero_takes_the_likeliest_whatever_the_seed(demo: Table, greedy: dict[str, Any]) -> None:
    for seed in (1, 2):
        assert _told(_answer(demo, seed=seed)) == _told(greedy)
    assert _answer(demo, **HOT, seed=1)["response"] != greedy["response"]


def test_a_seed_repeats_an_answer_and_minus_one_does_not(demo: Table) -> None:
    first, second, other = (_answer(demo, **HOT, seed=seed)["response"] for seed in (7, 7, 8))
    assert first == second != other
    assert first == _answer(demo, **HOT, seed=7 + 2**32)["response"]
    assert len({_answer(demo, **HOT, seed=-1)["response"] for _ in range(4)}) > 1


@pytest.mark.parametrize("option", [{"top_k": 1}, {"top_p": 0}, {"min_p": 1}])
def test_a_choice_of_one_token_is_the_greedy_one(demo: Table, greedy: dict[str, Any], option: dict[str, Any]) -> None:
    for seed in (1, 2):
        assert _told(_answer(demo, **{**HOT, **option}, seed=seed)) == _told(greedy)


def test_typical_p_leaves_only_what_is_typical(demo: Table) -> None:
    answers = {_answer(demo, **HOT, typical_p=0.001, seed=seed)["response"] for seed in range(3)}
    assert len(answers) == 1


@pytest.mark.parametrize("option", ["repeat_penalty", "presence_penalty", "frequency_penalty"])
def test_a_penalty_forbids_repeats_as_far_as_repeat_last_n_looks_back(demo: Table, option: str) -> None:
    def answer(**options: Any) -> list[int]:
        given = {"temperature": 0, "num_predict": 24, **options}
        whole = demo.whole(model=DEMO, prompt="Tell me a story about the sea.", options=given)
        return whole["context"][-24:]

    free = answer()
    assert len(set(free)) < 24
    assert len(set(answer(**{option: 100}, repeat_last_n=-1))) == 24
    assert answer(**{option: 100}, repeat_last_n=0) == free


def test_num_predict_bounds_the_answer(demo: Table, greedy: dict[str, Any]) -> None:
    assert _told(_answer(demo, num_predict=5))[1:] == (5, "length")
    none = _answer(demo, num_predict=0)
    assert (none["response"], none["done_reason"], none.get("eval_count")) == ("", "length", None)
    assert none["prompt_eval_count"] == greedy["prompt_eval_count"]
    for endless in (-1, -2):
        whole = demo.whole(model=DEMO, prompt="Say hi.", options={"temperature": 0, "num_predict": endless})
        assert whole["done_reason"] == "stop"


def test_max_tokens_is_another_name_for_num_predict_which_wins(demo: Table) -> None:
    assert _answer(demo, num_predict=None, max_tokens=3)["eval_count"] == 3
    assert _answer(demo, num_predict=5, max_tokens=3)["eval_count"] == 5
    text = demo.refused(model=DEMO, prompt="hi", options={"max_tokens": "x"})
    assert text == 'option "max_tokens" must be of type integer'


def test_stop_ends_the_answer_before_the_text(demo: Table, greedy: dict[str, Any]) -> None:
    text = greedy["response"]
    first, second = text[5:9], text[12:15]
    for stop in (first, [first], [second, first], [first, "", "not there"]):
        assert _told(_answer(demo, stop=stop))[::2] == (text[: text.index(first)], "stop")
    assert _told(_answer(demo, stop=["not there"])) == _told(greedy)
    assert "at most 64 texts" in demo.refused(model=DEMO, prompt="hi", options={"stop": ["x"] * 65})


def test_num_ctx_bounds_the_sequence_and_grows_the_model(demo: Table) -> None:
    words = "word " * 200
    cut = _answer(demo, words, num_ctx=64)
    assert (cut["truncated"], cut["prompt_eval_count"] + cut["dropped_tokens"]) == (True, 201)
    for enough in (0, 512, 10**6):
        whole = _answer(demo, words, num_ctx=enough, num_predict=1)
        assert (whole["prompt_eval_count"], "truncated" in whole) == (201, False)
    assert demo.loaded()[DEMO]["context_length"] == 8192  # what it was trained for


@pytest.mark.parametrize(("keep", "left"), [(0, 32), (4, 34), (20, 42), (-1, 62)])
def test_num_keep_stays_at_the_front_of_a_cut_prompt(demo: Table, keep: int, left: int) -> None:
    assert _answer(demo, "word " * 200, num_ctx=64, num_keep=keep)["prompt_eval_count"] == left


def test_options_of_the_load_are_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_tiny_llama(tmp_path_factory.mktemp("load") / "tiny.gguf")
    loads = [
        {},
        *({"num_batch": 1}, {"num_batch": 65536}, {"num_gpu": 0}, {"num_gpu": 99}, {"main_gpu": 0}, {"num_thread": 1}),
        *({"use_mmap": True}, {"use_mmap": False}, {"draft_num_predict": 4}),
    ]
    config = Config(models={"tiny": ModelConfig(path=str(path))})
    with LiveServer(config, load_plugins()) as server, closing(Table(server, "/api/generate")) as tiny:
        answers: set[str] = set()
        for load in loads:
            options = {**load, "temperature": 0, "num_predict": 8, "num_ctx": 256}
            answers.add(tiny.whole(model="tiny", prompt="a" * 100, options=options)["response"])
            assert tiny.loaded()["tiny:latest"]["context_length"] == 256
            tiny.whole(model="tiny", keep_alive=0)
            assert tiny.loaded() == {}
    assert len(answers) == 1
