"""Beginnings that were computed for another text: what follows them is what follows when all is computed anew."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher
from tiny_engine import PLAIN, TinyEngine, letters
from tiny_memories import write_exact_llama

from remuda import Constraint
from remuda_llamacpp import _native

# Closes, at the end of all tests, what llama-cpp-python opens when it is imported.
pytestmark = pytest.mark.usefixtures("load")

A, B = letters(120, 1), letters(120, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_exact_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def plain(model):
    """What texts are when they are computed alone, from the first token on."""
    engine = TinyEngine(model, parallel=1, **PLAIN)
    yield engine
    assert engine.cells() == [0]
    engine.engine.close()


@pytest.fixture(scope="module")
def shared(model):
    engine = TinyEngine(model, parallel=3, num_batch=32)
    yield engine
    engine.engine.close()


@pytest.fixture
def tiny(shared):
    shared.clear()
    return shared


OPTIONS = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "top_k": 0, "seed": 7},
    "penalties": {"temperature": 0.9, "repeat_penalty": 1.6, "repeat_last_n": -1, "frequency_penalty": 0.7, "seed": 3},
    "a few penalties": {"repeat_penalty": 2.0, "repeat_last_n": 50, "presence_penalty": 1.0},
    "log probabilities": {"logprobs": 3, "temperature": 0.7},
    "a constraint": {
        "constraint": Constraint(grammar=LLMatcher.grammar_from_regex("[a-f]+ [0-9]{3} .*")),
        "logprobs": 1,
    },
    "shifted": {"limit": 140, "shift": False},
}


@pytest.mark.parametrize("wish", OPTIONS.values(), ids=OPTIONS)
def test_a_prompt_that_is_repeated_is_computed_but_for_its_last_token(tiny, plain, wish):
    first, again, expected = tiny.alone(A, **wish), tiny.alone(A, **wish), plain.alone(A, **wish)
    assert len(expected.tokens) >= 10
    assert (first.cached, again.cached, expected.cached) == (0, len(A) - 1, 0)
    assert again.whole == first.whole == expected.whole


@pytest.mark.parametrize("wish", OPTIONS.values(), ids=OPTIONS)
def test_another_text_that_begins_alike_goes_its_own_way(tiny, plain, wish):
    tiny.alone(A[:80] + B[:40], temperature=1.0)
    said, expected = tiny.alone(A, **wish), plain.alone(A, **wish)
    assert said.cached == 80
    assert said.whole == expected.whole


def test_a_conversation_goes_on_from_all_that_was_said(tiny, plain):
    talk = A[:30]
    for turn in range(4):
        said = tiny.alone(talk, most=25)
        assert said.whole == plain.alone(talk, most=25).whole
        # The last token that was said is not computed.
        assert said.cached == (0 if turn == 0 else len(talk) - 21)
        talk = talk + said.tokens + letters(20, turn)


def test_a_beginning_is_copied_from_a_sequence_that_still_writes(tiny, plain):
    running = tiny.submit(1, A[:100], most=60)
    tiny.until_read(1)
    tiny.step(5)
    copied = tiny.count("prefix_copied_total")
    other = tiny.submit(2, A[:70] + B[:30])
    third = tiny.submit(3, A[:100] + running.tokens[:4] + B[:9], temperature=1.0)
    tiny.run()
    assert (other.cached, third.cached) == (70, 104)
    assert tiny.count("prefix_copied_total") == copied + 2
    assert running.whole == plain.alone(A[:100], most=60).whole
    assert other.whole == plain.alone(A[:70] + B[:30]).whole
    assert third.whole == plain.alone(A[:100] + running.tokens[:4] + B[:9], temperature=1.0).whole


def test_what_is_kept_survives_a_copy_and_is_used_again(tiny, plain):
    long, short = letters(400, 3), letters(400, 3)[:90] + B[:10]
    tiny.alone(long)
    said = tiny.alone(short)
    assert said.cached == 90
    assert said.whole == plain.alone(short).whole
    assert tiny.alone(long).cached == 399
    assert tiny.alone(short).cached == 99


# --- prompts that arrive together ---


@pytest.fixture
def together(tiny):
    """Two prompts with the same 400 tokens at the beginning, to be submitted at once.

    The second one is the shorter one: it would be read first if it did not wait.
    """
    long = letters(400, 5)
    return long + letters(200, 6), long + B[:20]


def test_of_two_prompts_that_begin_alike_one_reads_and_the_other_takes_over(tiny, plain, together):
    one, other = together
    before = tiny.count("prompt_tokens_computed_total")
    texts = tiny.submit(1, one), tiny.submit(2, other)
    tiny.run()
    cached = max(text.cached for text in texts)
    # It does not wait for the last few.
    assert 400 - 64 <= cached <= 400
    assert tiny.count("prompt_tokens_computed_total") == before + 600 + 420 - cached
    assert [text.whole for text in texts] == [plain.alone(prompt).whole for prompt in together]


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("leaves", [1, 2])
def test_if_the_one_that_reads_leaves_the_other_goes_on_from_there(tiny, plain, together, steps, leaves):
    said = {id: tiny.submit(id, prompt) for id, prompt in enumerate(together, 1)}
    tiny.step(steps)
    held = tiny.engine.cells(leaves)
    tiny.engine.interrupt(leaves)
    tiny.engine.cancel(leaves)
    tiny.run()
    stays = 3 - leaves
    assert said[leaves].end is None
    assert said[stays].whole == plain.alone(together[stays - 1]).whole
    if held:
        assert said[stays].cached >= min(held, 400) - 32
    assert tiny.count("cells_live") == 0


def test_one_that_waits_for_a_reader_that_was_interrupted_waits_no_longer(tiny, plain, together):
    tiny.submit(1, together[0])
    other = tiny.submit(2, together[1])
    tiny.step(3)
    tiny.engine.interrupt(1)  # the host cancels it later
    tiny.run(2)
    assert other.whole == plain.alone(together[1]).whole
    tiny.engine.cancel(1)


def test_a_crowd_with_one_beginning_reads_it_once(model, plain):
    tiny = TinyEngine(model, parallel=8, num_batch=32)
    long = letters(300, 6)
    running = tiny.submit(0, A, most=200)
    tiny.until_read(0)
    prompts = [long + [40 + number] * 5 for number in range(7)]
    crowd = [tiny.submit(id, prompt, most=5) for id, prompt in enumerate(prompts, 1)]
    tiny.run(*range(1, 8))
    one, *others = sorted(text.cached for text in crowd)
    assert one == 0
    assert min(others) >= 300 - 64
    assert [text.whole for text in crowd] == [plain.alone(prompt, most=5).whole for prompt in prompts]
    tiny.run()
    assert running.whole == plain.alone(A, most=200).whole
    tiny.engine.close()


# --- what is not reused ---


def test_owners_take_nothing_from_each_other(tiny, plain):
    tiny.alone(A, owner="alice")
    assert tiny.alone(A, owner="bob").cached == 0
    assert tiny.alone(A).cached == 0
    assert tiny.alone(A, owner="alice").cached == len(A) - 1
    # Not from a live one either.
    long = letters(300, 8)
    texts = [tiny.submit(id, long, owner=owner) for id, owner in enumerate(["alice", "bob", "alice"])]
    tiny.run()
    assert [text.cached for text in texts] == [0, 0, 299]
    assert {text.data for text in texts} == {plain.alone(long).data}


def test_nobody_waits_for_what_belongs_to_another_owner(tiny):
    long = letters(600, 8)
    tiny.submit(1, long, owner="alice")
    tiny.submit(2, long[:200], owner="bob")
    tiny.until_read(2)
    assert tiny.said[2].cached == 0
    assert 100 < tiny.engine.cells(1) < 350, "they took turns"


def test_after_a_shift_only_what_was_kept_is_what_it_was(tiny, plain):
    said = tiny.submit(1, A[:50], limit=64, shift=True, keep=20)
    while len(said.tokens) < 40:
        tiny.step()
    tiny.engine.cancel(1)
    again, expected = tiny.alone(A[:50]), plain.alone(A[:50])
    assert again.cached == 20
    assert again.whole == expected.whole
    # And of what it said before.
    tiny.clear()
    tiny.submit(1, A[:50], limit=64, shift=True, keep=20)
    while len(tiny.said[1].tokens) < 40:
        tiny.step()
    other = tiny.submit(2, A[:50])
    tiny.run(2)
    assert other.cached == 20
    assert other.whole == expected.whole
    tiny.engine.cancel(1)


def test_a_shifted_text_is_the_same_with_a_reused_beginning(tiny, plain):
    def shifted(engine):
        said = engine.submit(1, A[:50], limit=64, shift=True, keep=20)
        while len(said.tokens) < 100:
            engine.step()
        engine.engine.cancel(1)
        return said.data

    tiny.alone(A[:50])
    assert shifted(tiny) == shifted(plain)
    assert tiny.said[1].cached == 49


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_who_leaves_while_another_makes_room_spoils_nothing(tiny, plain, monkeypatch, steps):
    """Making room moves keys, in the next decode: it must not be one that ends in the middle."""
    decode, decoder = _native.decode, tiny.engine._texts.decoder

    def interrupted(context, batch):
        if decoder._reading == 2:
            tiny.engine.interrupt(2)
        return decode(context, batch)

    said = tiny.submit(1, A[:63], limit=64, shift=True, keep=20)
    tiny.until_read(1)
    tiny.submit(2, B)
    tiny.step(steps - 1)
    monkeypatch.setattr(_native, "decode", interrupted)
    tiny.step()
    tiny.engine.cancel(2)
    expected = plain.submit(1, A[:63], limit=64, shift=True, keep=20)
    for engine, text in ((tiny, said), (plain, expected)):
        while len(text.tokens) < 60:
            engine.step()
        engine.engine.cancel(1)
    assert said.tokens[:60] == expected.tokens[:60]


def test_switched_off_nothing_is_kept(model):
    tiny = TinyEngine(model, prefix_reuse=False)
    assert [tiny.alone(A).cached for _ in range(2)] == [0, 0]
    long = letters(300, 8)
    texts = [tiny.submit(id, long) for id in range(2)]
    tiny.run()
    assert [text.cached for text in texts] == [0, 0]
    assert tiny.cells() == [0, 0, 0]
    assert tiny.count("cells_kept") == tiny.count("prompt_tokens_cached_total") == 0
    tiny.engine.close()


# --- what stays ---


def test_a_prompt_that_was_read_in_part_is_kept_as_far_as_it_was_read(tiny, plain):
    tiny.submit(1, letters(300, 9))
    tiny.step(3)
    held = tiny.engine.cells(1)
    assert 0 < held < 300
    tiny.engine.interrupt(1)
    tiny.engine.cancel(1)
    assert tiny.count("cells_kept") == held
    said = tiny.alone(letters(300, 9))
    assert said.cached == held
    assert said.whole == plain.alone(letters(300, 9)).whole


def test_figures_and_cells_agree(tiny):
    before = tiny.engine.counters()
    tiny.alone(A)
    tiny.alone(A[:60] + B[:60])
    running = tiny.submit(1, A + B[:10], most=50)
    tiny.until_read(1)
    after = tiny.engine.counters()
    assert after["cells_live"] == tiny.engine.cells(1) == 130 + len(running.tokens) - 1
    assert after["cells_live"] + after["cells_kept"] == sum(tiny.cells())
    assert after["prompt_tokens_computed_total"] - before["prompt_tokens_computed_total"] == 120 + 60 + 10
    assert after["prompt_tokens_cached_total"] - before["prompt_tokens_cached_total"] == 60 + 120


# --- long ones ---


@pytest.mark.parametrize(("first", "second"), [(600, 700), (700, 700), (640, 641), (641, 720), (577, 578), (660, 655)])
def test_where_a_tile_is_left_to_be_read_in_part_it_is_read_whole(model, plain, first, second):
    """The last rows of the first prompt are not in tiles, but the second one's at the same places are."""
    tiny = TinyEngine(model)
    long = letters(720, 4)
    tiny.alone(long[:first], most=1)
    said = tiny.alone(long[:second])
    assert said.cached >= min(first, second - 1) - 64
    assert said.whole == plain.alone(long[:second]).whole
    tiny.engine.close()


def test_a_long_prompt_of_a_real_model_goes_on_with_the_same_bytes(load, drive):
    engine = load(context=800, parallel=1, settings={"prefix_reuse": True, "prefix_disk": False})
    driver = drive(engine)
    prompt = [500 + 37 * number % 997 for number in range(641)]
    first = driver.alone(prompt, most=6)
    assert driver.alone([*prompt[:580], 7], most=1).read.cached == 580
    again = driver.alone(prompt, most=6)
    assert (first.read.cached, again.read.cached) == (0, 576)
    assert again.data == first.data
