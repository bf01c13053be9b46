"""Texts in company are the texts alone."""

from __future__ import annotations

import random

import pytest

WORDS = ["the", "river", "a", "stone", "market", "old", "light", "carried", "seven", "names", "toward", "morning"]


def prompt(number: int, words: int) -> str:
    pick = random.Random(number)
    return " ".join(pick.choice(WORDS) for _ in range(words)) + ". Then"


# The sixth passes the 512 cells from which a lone query is computed in another way, and spans several stretches.
PROMPTS = [prompt(number, words) for number, words in enumerate([3, 12, 30, 64, 100, 260, 40, 7])]


def test_greedy_texts_alone_and_together_are_equal_byte_for_byte(driver):
    alone = [driver.alone(text, most=16).data for text in PROMPTS]
    together = [driver.submit(number, text, most=16) for number, text in enumerate(PROMPTS)]
    driver.run()
    assert [text.data for text in together] == alone
    assert len(set(alone)) == len(alone)


def test_sequences_that_come_and_go_do_not_touch_each_other(driver):
    alone = [driver.alone(text, most=12).data for text in PROMPTS[:5]]
    order = [4, 0, 3, 1, 2]
    together = {}
    for number in order:
        together[number] = driver.submit(number, PROMPTS[number], most=12)
        driver.submit(100 + number, "Gone again", most=12)
        driver.step()
        driver.step()
        driver.engine.cancel(100 + number)
    driver.run(*order)
    assert [together[number].data for number in range(5)] == alone


def test_the_number_of_threads_changes_no_text(driver, load, drive):
    one = driver.alone(PROMPTS[5], most=6).data
    assert drive(load(num_thread=2)).alone(PROMPTS[5], most=6).data == one


def test_a_long_prompt_lets_running_streams_go_on_and_short_ones_pass(driver):
    running = driver.submit(1, "Once upon a time", most=400)
    driver.step()
    long = driver.submit(2, prompt(1, 400), most=2)
    short = driver.submit(3, "Hello", most=2)
    steps = 0
    while long.read is None:
        before = len(running.tokens)
        driver.step()
        steps += 1
        assert len(running.tokens) == before + 1
    assert steps >= 3
    assert short.end is not None


def test_prompt_read_comes_once_with_its_count(driver):
    text = driver.alone(PROMPTS[4], most=2)
    assert text.read is not None
    assert text.read.tokens == len(driver.engine.tokenize(PROMPTS[4]))
    assert text.read.cached == 0
    assert text.read.nanoseconds > 0


@pytest.mark.parametrize("settings", [{"flash_attention": False}, {"kv_cache_type": "q8_0"}, {"kv_cache_type": "q4_0"}])
def test_the_settings_give_a_working_engine(load, drive, settings):
    engine = load(context=256, parallel=2, settings=settings)
    text = drive(engine).alone("The capital of France is", most=3)
    assert b"Paris" in text.data


def test_small_batches_and_weights_that_are_read_work(load, drive):
    engine = load(context=256, parallel=1, num_batch=7, use_mmap=False)
    assert b"Paris" in drive(engine).alone("The capital of France is the city of", most=3).data
