"""What a format allows is what is written, on a real model."""

from __future__ import annotations

import gc
import json
import threading
import weakref

import jsonschema
import llguidance
import pytest
from llguidance import LLMatcher
from small_schemas import random_schema

from remuda import Constraint, Failed
from remuda.errors import BadRequest
from remuda.sampling import Guide

CHAT = "<|im_start|>user\nTell me about a river as JSON.<|im_end|>\n<|im_start|>assistant\n"


def schema(value: object) -> Constraint:
    return Constraint(grammar=LLMatcher.grammar_from_json_schema(json.dumps(value)))


def regex(pattern: str) -> Constraint:
    return Constraint(grammar=LLMatcher.grammar_from_regex(pattern))


OBJECT = schema({"type": "object"})


def whole(text) -> str:
    """All of a text: what was generated, and what the engine says is missing."""
    return (text.data + text.end.tail).decode()


def test_an_object_parses_whatever_is_drawn(driver):
    texts = [
        driver.submit(seed, CHAT, constraint=OBJECT, temperature=1.0, seed=seed, most=60)
        for seed in range(driver.engine.parallel)
    ]
    driver.run()
    for text in texts:
        assert isinstance(json.loads(whole(text)), dict)
        assert text.end.reason == ("length" if text.end.tail else "stop")


def test_random_schemas_give_documents_that_validate(driver):
    texts = {}
    for seed in range(24):
        wanted = random_schema(seed)
        # As many as there are slots, side by side: what one allows must not reach another.
        texts[seed] = wanted, driver.submit(seed, CHAT, constraint=schema(wanted), temperature=1.0, seed=seed, most=36)
        if len(texts) % driver.engine.parallel == 0:
            driver.run()
    driver.run()
    for wanted, text in texts.values():
        jsonschema.Draft202012Validator(wanted).validate(json.loads(whole(text)))
    reasons = [text.end.reason for _, text in texts.values()]
    assert set(reasons) == {"stop", "length"}


@pytest.mark.parametrize("most", [1, 2, 5, 9])
def test_a_document_that_is_cut_short_is_completed(driver, most):
    wanted = {"type": "object", "properties": {"name": {"type": "string", "minLength": 12}}, "required": ["name"]}
    text = driver.alone(CHAT, constraint=schema(wanted), most=most)
    assert text.end.reason == "length"
    assert text.end.tail
    jsonschema.Draft202012Validator(wanted).validate(json.loads(whole(text)))


def test_the_host_may_ask_at_any_time(driver):
    text = driver.submit(1, CHAT, constraint=OBJECT, temperature=1.0, seed=3, most=60)
    tails = set()
    while text.end is None:
        tails.add(driver.engine.complete(1))
        json.loads(text.data + driver.engine.complete(1))
        driver.step()
    assert len(tails) > 3
    assert driver.engine.complete(1) == b""


def test_what_matches_and_cannot_go_on_ends_at_once(driver):
    text = driver.alone(CHAT, constraint=regex("The capital of France is Paris"))
    assert text.data == b"The capital of France is Paris"
    assert (text.end.reason, text.end.tail) == ("stop", b"")


def test_the_end_is_allowed_exactly_where_the_text_matches(driver):
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    text = driver.alone(question, constraint=regex(r"[^.]*\.( [^.]*\.)*"), most=40)
    assert (text.data, text.end.reason) == (b"The capital of France is Paris.", "stop")
    text = driver.alone(question, constraint=regex(r"[^.]*\.( [^.]*\.)+"), most=60)
    assert text.data.startswith(b"The capital of France is Paris. ")


def test_control_tokens_spell_no_text(driver):
    text = driver.alone(CHAT, constraint=regex(r"<\|im_end\|>!"), most=40)
    assert text.data == b"<|im_end|>!"
    assert len(text.tokens) > 3


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0.5},
        {"top_k": 0, "top_p": 1.0},
        {"top_k": 1},
        {"min_p": 0.9},
        {"temperature": 0.0, "repeat_penalty": 1.5},
        {"temperature": 0.0},
        {"temperature": 50.0, "top_k": 0, "top_p": 1.0},
    ],
)
def test_every_way_of_sampling_keeps_to_the_format(driver, options):
    constraint = regex(r"(yes|no){1,4}, [0-9]{3}")
    text = driver.alone(CHAT, constraint=constraint, seed=5, most=30, **{"temperature": 1.0, **options})
    assert text.end.reason == "stop"
    assert driver.engine._grammars.matcher(constraint.grammar).could_take_bytes(text.data)


def test_tokens_that_are_suppressed_do_not_block_a_format(driver, monkeypatch):
    (digit,) = driver.engine.tokenize("7", bos=False)
    monkeypatch.setattr(driver.engine, "_suppressed", [digit])
    assert driver.alone(CHAT, constraint=regex("7")).data == b"7"


def test_sequences_side_by_side_do_not_mix(driver):
    constraints = [regex("[0-9]{8}"), regex("[a-z]{12}"), None, OBJECT, regex("(red|green)")]
    alone = [driver.alone(CHAT, constraint=one).data for one in constraints]
    together = [driver.submit(number, CHAT, constraint=one) for number, one in enumerate(constraints)]
    driver.run()
    assert [text.data for text in together] == alone


def test_a_free_text_is_the_same_beside_a_constrained_one(driver):
    alone = driver.alone(CHAT).data
    driver.submit(1, CHAT, constraint=regex("[0-9]{8}"))
    free = driver.submit(2, CHAT)
    driver.run()
    assert free.data == alone


@pytest.mark.parametrize("grammar", [LLMatcher.grammar_from_regex("(a"), "start: nothing", "{", ""])
def test_a_grammar_that_is_none_is_refused_and_nothing_is_left(driver, grammar):
    with pytest.raises(BadRequest, match="format"):
        driver.submit(1, CHAT, constraint=Constraint(grammar=grammar))
    assert 1 not in driver.engine._live


def test_the_reason_for_a_refusal_is_told(driver):
    with pytest.raises(BadRequest, match="unclosed group"):
        driver.engine.compile(regex("(a"))


def test_a_constraint_is_made_ready_in_another_thread(driver):
    compiled = []
    thread = threading.Thread(target=lambda: compiled.append(driver.engine.compile(regex("[0-9]{4}"))))
    thread.start()
    thread.join(60)
    text = driver.alone(CHAT, constraint=regex("[a-z]{4}"), compiled=compiled[0])
    assert text.data.isdigit(), "what was made ready is what counts"


def test_a_format_that_grows_too_complex_fails_its_own_sequence(driver, monkeypatch):
    limits = llguidance.LLParserLimits(step_max_items=200)
    monkeypatch.setattr(llguidance, "LLParserLimits", lambda **_: limits)
    beside = driver.submit(1, CHAT, most=40)
    text = driver.submit(2, CHAT, constraint=Constraint(grammar='start: s\ns: s s | "a" | "b"'), most=40)
    driver.run()
    assert beside.end.reason == "length"
    assert isinstance(text.end, Failed)
    assert text.end.status == 400
    assert "too complex" in text.end.message
    assert 2 not in driver.engine._live


def test_what_is_cancelled_frees_its_matchers(driver):
    driver.submit(1, CHAT, constraint=OBJECT)
    driver.step()
    guide = driver.engine._live[1].choice._guide
    assert isinstance(guide, Guide)
    matcher = weakref.ref(guide._main)
    del guide
    driver.engine.cancel(1)
    gc.collect()
    assert matcher() is None
