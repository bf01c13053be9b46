"""How a text ends: by itself, at its limit, or not at all."""

from __future__ import annotations

CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


def test_an_end_of_generation_token_stops_and_is_not_yielded(driver):
    text = driver.alone(CHAT, most=40)
    assert text.end.reason == "stop"
    assert text.data == b"The capital of France is Paris."
    assert all(driver.engine._vocabulary.piece(token) is not None for token in text.tokens)


def test_without_shift_the_limit_ends_it(driver):
    tokens = driver.engine.tokenize("Count: one two three")
    text = driver.alone(tokens, limit=len(tokens) + 5)
    assert text.end.reason == "length"
    assert len(text.tokens) == 5


def test_the_whole_context_can_be_used(load, drive):
    engine = load(context=64, parallel=2)
    text = drive(engine).alone([500] * 60, limit=64)
    assert text.end.reason == "length"
    assert len(text.tokens) == 4


def test_with_shift_it_goes_on_and_forgets_what_is_not_kept(driver, cells):
    tokens = driver.engine.tokenize("One day, the old fisherman")
    text = driver.submit(1, tokens, limit=32, shift=True, keep=4)
    beside = driver.submit(2, "Once upon a time", most=40)
    most = 0
    for _ in range(100):
        driver.step()
        most = max(most, driver.engine.cells(1))
    assert text.end is None
    assert len(text.tokens) == 100
    assert most == 31
    assert driver.engine.cells(1) < 32
    driver.engine.cancel(1)
    assert beside.data == driver.alone("Once upon a time", most=40).data


def test_shift_that_keeps_nearly_everything_still_goes_on(driver):
    text = driver.submit(1, [500] * 30, limit=32, shift=True, keep=30)
    for _ in range(20):
        driver.step()
    assert len(text.tokens) >= 19 or text.end is not None
