"""Every sampling option acts."""

from __future__ import annotations

import pytest

START = "Once upon a time there was a"


def test_a_seed_gives_the_same_text_again_and_another_seed_another(driver):
    first, again, other = (driver.alone(START, seed=seed, temperature=1.0).tokens for seed in (7, 7, 2**32 - 1))
    assert first == again
    assert first != other


def test_a_seed_gives_the_same_text_in_company(driver):
    alone = driver.alone(START, seed=7, temperature=0.8).tokens
    texts = [driver.submit(number, START, seed=7 + number, temperature=0.8) for number in range(4)]
    driver.run()
    assert texts[0].tokens == alone


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}])
def test_what_leaves_one_choice_is_greedy(driver, options):
    greedy = driver.alone(START).tokens
    assert driver.alone(START, temperature=1.5, **options).tokens == greedy


@pytest.mark.parametrize("options", [{"typical_p": 0.2}, {"top_k": 3}, {"top_p": 0.3}, {"min_p": 0.5}])
def test_what_narrows_the_choice_changes_the_text(driver, options):
    free = {"top_k": 0, "top_p": 1.0, "temperature": 1.5}
    assert driver.alone(START, **free).tokens != driver.alone(START, **{**free, **options}).tokens


@pytest.mark.parametrize("options", [{"repeat_penalty": 1.5}, {"presence_penalty": 5.0}, {"frequency_penalty": 5.0}])
def test_penalties_act_on_a_greedy_text_and_know_the_prompt(driver, options):
    prompt = "one two one two one two one two one two one"
    plain = driver.alone(prompt, most=6)
    assert plain.data.startswith(b" two")
    assert not driver.alone(prompt, most=6, **options).data.startswith(b" two")
    assert driver.alone(prompt, most=6, repeat_last_n=0, **options).tokens == plain.tokens


def test_penalties_may_look_back_further_than_there_is_memory(driver):
    furthest = driver.alone(START, repeat_last_n=2**31 - 1, repeat_penalty=1.1, most=2)
    assert furthest.tokens == driver.alone(START, repeat_last_n=-1, repeat_penalty=1.1, most=2).tokens


def test_the_fast_way_to_the_likeliest_token_is_the_greedy_sampler(driver):
    from remuda_llamacpp.sampler import Sampler

    plain = driver.alone(START)
    text = driver.submit(1, START)
    sampler = driver.engine._live[1].sampler
    assert isinstance(sampler, Sampler)
    assert sampler.plain
    sampler.plain = False
    driver.run()
    assert text.tokens == plain.tokens
