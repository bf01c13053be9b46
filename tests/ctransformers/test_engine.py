"""What is this engine's own, beside what all engines promise (`tests/conformance`)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from remuda import BadRequest, Constraint, Ended
from remuda.errors import EngineError
from remuda_ctransformers import load

LONG = "in the thing there is a king and then another thing in the ring "


def test_sequences_take_turns_a_token_each(driver):
    first, second = driver.submit("the thing"), driver.submit("a ring in there")
    driver.run(first, second)
    for said, prompt in ((first, "the thing"), (second, "a ring in there")):
        assert said.data == driver.alone(prompt).data
    assert abs(len(first.pieces) - len(second.pieces)) <= 1


def test_a_short_text_goes_on_while_a_long_prompt_is_read(driver):
    short = driver.submit("the", most=40)
    while not short.pieces:
        driver.step()
    long = driver.submit(LONG * 2, most=4)
    seen = len(short.pieces)
    while long.read is None:
        driver.step()
    assert len(short.pieces) - seen >= len(driver.engine.tokenize(LONG * 2)) // 8 - 1, "a token for each micro-batch"


def test_as_many_as_there_are_contexts_and_no_more(driver):
    running = [driver.submit("the"), driver.submit("the")]
    with pytest.raises(EngineError, match="all 2 sequences are taken"):
        driver.submit("the")
    driver.cancel(running[0])
    running = [running[1], driver.submit("the")]
    driver.run(*running)


# --- what is there already ---


def test_whole_micro_batches_of_a_beginning_are_not_computed_again(driver):
    fresh = driver.alone(LONG + "and so on")
    tokens = driver.engine.tokenize(LONG + "and so on")
    again = driver.alone(LONG + "and so on")
    assert (fresh.cached, again.cached) == (0, (len(tokens) - 1) // 8 * 8)
    assert again.data == fresh.data
    other = driver.alone(LONG + "in the end")
    assert 0 < other.cached < again.cached + 8
    assert other.data == driver.alone(LONG + "in the end", owner="somebody else").data


def test_what_was_generated_is_computed_anew(driver):
    prompt = driver.engine.tokenize(LONG)
    first = driver.alone(LONG, most=24)
    more = [*prompt, *first.tokens, *driver.engine.tokenize("more", bos=False)]
    going_on = driver.alone(more)
    assert going_on.cached == len(prompt) // 8 * 8
    assert going_on.data == driver.alone(more, owner="somebody else").data


def test_nothing_is_reused_between_owners(driver):
    driver.alone(LONG, owner="one")
    assert driver.alone(LONG, owner="other").cached == 0


def test_the_context_that_shares_most_is_taken_else_the_one_that_rested_longest(make):
    driver = make("gguf", parallel=2)
    driver.alone("the thing in there is a thing in there")
    driver.alone("a ring in the ring in the ring in the ring")
    assert driver.alone("the thing in there is a thing in there").cached
    driver.alone("he he he he he he he he he he he he")
    assert driver.alone("the thing in there is a thing in there").cached, "the other one had rested longer"


# --- the end of the context ---


@pytest.mark.parametrize("keep", [0, 5, 1000])
def test_at_the_end_older_tokens_are_forgotten_and_the_rest_is_computed_anew(driver, keep):
    tokens = driver.engine.tokenize(LONG)[:20]
    said = driver.submit(tokens, limit=32, shift=True, keep=keep)
    while len(said.pieces) < 60:
        driver.step()
    driver.cancel(said)
    at = 32 - len(tokens)
    assert said.tokens[:at] == driver.alone(tokens, limit=32, owner="x").tokens[:at]
    text = [*tokens, *said.tokens[: at - 1]]
    kept = min(keep, len(text) - 1)
    left = [*text[:kept], *text[kept + max(1, (len(text) - kept) // 2) :], said.tokens[at - 1]]
    assert said.tokens[at] == driver.alone(left, most=2, owner="y").tokens[0]


def test_without_that_it_ends(driver):
    said = driver.alone("the thing", limit=20)
    assert said.end == Ended(said.id, "length")
    assert len(said.pieces) == 20 - len(driver.engine.tokenize("the thing"))


# --- options ---


@pytest.mark.parametrize(("which", "wished", "used"), [("gguf", 64, 64), ("gguf", 5000, 512), ("gpt2", 64, 8)])
def test_micro_batches_are_as_large_as_the_buffers_allow(make, monkeypatch, which, wished, used):
    driver = make(which, num_batch=wished, context=512)
    native = driver.engine._loaded.natives[0]
    seen: list[int] = []
    evaluate = type(native).evaluate
    monkeypatch.setattr(type(native), "evaluate", lambda self, tokens, *rest: (
        seen.append(len(tokens)), evaluate(self, tokens, *rest))[1])  # fmt: skip
    prompt = driver.engine.tokenize(LONG * 5)[:160]
    driver.alone(prompt, most=2)
    assert max(seen) == min(used, len(prompt))


def test_the_context_is_never_longer_than_the_model_s(make):
    assert make("gguf", context=100_000).engine.context == 512
    assert make("gpt2", context=100_000).engine.context == 256
    assert make("gpt2", context=100).engine.context == 100


@pytest.mark.parametrize(("wished", "cores", "used"), [(0, 4, 3), (0, 1, 1), (3, 4, 3), (1024, 4, 4)])
def test_threads_leave_a_core_to_the_server_and_never_share_one(make, monkeypatch, wished, cores, used):
    monkeypatch.setattr(load, "available_cores", lambda: cores)
    assert make("gguf", num_thread=wished).engine._loaded.threads == used


def test_a_seed_reproduces_and_another_differs(driver):
    wish = {"temperature": 1.5, "most": 30, "top_k": 0, "top_p": 1.0}
    first = driver.alone("the", seed=7, **wish)
    assert driver.alone("the", seed=7, **wish).data == first.data
    assert driver.alone("the", seed=8, **wish).data != first.data


def test_a_penalty_keeps_tokens_from_coming_again(driver):
    free = driver.alone("the", most=60).tokens
    bound = driver.alone("the", most=60, repeat_penalty=100.0, repeat_last_n=-1).tokens
    assert len(set(bound)) == len(bound) > len(set(free))


def test_log_probabilities_are_those_of_the_library_s_logits(driver):
    said = driver.alone("the thing", most=3, logprobs=5)
    tokens = [*driver.engine.tokenize("the thing"), *said.tokens[:1]]
    slot = driver.engine._slots[0]
    slot.begin(tokens, "raw")
    while slot.unread:
        assert slot.read()
    logits = slot.logits().astype(np.float64)
    expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    second = said.logprobs[1]
    assert second.logprob == pytest.approx(expected[said.tokens[1]], abs=5e-3)
    assert [top.logprob for top in second.top] == pytest.approx(sorted(expected)[:-6:-1], abs=5e-3)


def test_a_format_is_kept_to_and_completed(driver):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    grammar = json.dumps({"grammars": [{"json_schema": schema}]})
    said = driver.alone("the", most=6, constraint=Constraint(grammar=grammar))
    assert isinstance(said.end, Ended)

    assert isinstance(json.loads(said.data + said.end.tail)["a"], int)


# --- vectors ---


def test_a_llama_gives_vectors(make):
    driver = make("gguf", parallel=2)
    engine = driver.engine
    tokens, count = engine.tokenize_input("the thing in there", 100)
    assert count == len(tokens)
    (vector,) = driver.embed(tokens)
    assert len(np.frombuffer(vector, np.float32)) == 64
    assert driver.embed(tokens) == [vector]
    assert driver.embed(engine.tokenize_input("another", 100)[0]) != [vector]
    assert engine.tokenize_input("the thing in there", 3) == (tokens[:3], count)


def test_a_vector_is_made_in_pieces_beside_texts(make):
    driver = make("gguf", parallel=2)
    engine, tokens = driver.engine, driver.engine.tokenize(LONG * 3)
    running, vectors, count = driver.submit("the", most=60), [], 0
    driver.step()

    def pieces():
        vectors.extend((yield from engine.embedding([tokens])))

    for _ in pieces():
        count += 1
        driver.step()
    assert vectors == make("gguf", parallel=1).embed(tokens)
    assert count == (len(tokens) - 1) // 8
    assert count <= len(running.pieces) <= count + 2, "a token for each micro-batch"
    driver.run(running)
    assert running.data == driver.alone("the", most=60).data


def test_a_vector_waits_for_its_turn_and_gets_it(make):
    """Others that come later do not go before it."""
    driver = make("gguf", parallel=1)
    engine = driver.engine
    first = driver.submit("the", most=6)
    driver.step()
    pieces = engine.embedding([engine.tokenize("a ring")])
    next(pieces)
    driver.run(first)
    second = driver.submit("the", most=6)
    driver.step()
    assert second.read is None, "it came later"
    with pytest.raises(StopIteration):
        next(pieces)
    driver.run(second)
    assert second.data == first.data


def test_a_vector_that_nobody_wants_any_more_gives_its_context_back(make):
    driver = make("gguf", parallel=1)
    pieces = driver.engine.embedding([driver.engine.tokenize(LONG * 3)])
    next(pieces)
    pieces.close()
    assert driver.alone("the").data
    waiting = driver.submit("the", most=4)
    driver.step()
    pieces = driver.engine.embedding([[1]])
    next(pieces)
    pieces.close()
    driver.run(waiting)


def test_a_gpt2_gives_none(make):
    engine = make("gpt2").engine
    assert engine.embed_most == 0
    with pytest.raises(BadRequest, match="gives no embeddings"):
        engine.tokenize_input("the", 10)


def test_weights_that_give_no_numbers_are_told(make, monkeypatch):
    driver = make("gpt2")
    native = type(driver.engine._loaded.natives[0])
    monkeypatch.setattr(native, "logits", lambda self: np.full(264, np.nan, np.float32))
    said = driver.alone("the")
    assert "its weights may be damaged" in said.end.message
    assert not driver.engine._choices
