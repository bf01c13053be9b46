"""Control tokens leave their text where it was asked for, and nowhere else."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher

from remuda import Constraint

# After a text's end the model goes on with the next turn's control token.
TURN = "<|im_start|>user\nHi<|im_end|>\n"


def forced(*tags: str) -> Constraint:
    """A text of control tokens with a word between them."""
    return Constraint(grammar="start: " + ' " and " '.join(tags))


def test_a_control_token_has_no_text_unless_it_is_asked_for(driver):
    constraint = forced("<file_sep>", "<filename>")
    assert driver.alone(TURN, constraint=constraint).data == b" and "
    assert driver.alone(TURN, constraint=constraint, visible=("<filename>",)).data == b" and <filename>"
    both = driver.alone(TURN, constraint=constraint, visible=("<filename>", "<file_sep>"))
    assert both.data == b"<file_sep> and <filename>"


def test_one_sequence_does_not_show_what_another_asked_for(driver):
    texts = [driver.submit(id, TURN, constraint=forced("<file_sep>"), visible=("<file_sep>",) * id) for id in (0, 1)]
    driver.run()
    assert [text.data for text in texts] == [b"", b"<file_sep>"]


def test_a_free_text_shows_them_too(driver):
    hidden = driver.alone("<|im_start|>user\nHi<|im_end|>", most=4)
    shown = driver.alone("<|im_start|>user\nHi<|im_end|>", most=4, visible=("<|im_start|>",))
    assert shown.tokens == hidden.tokens
    (start,) = driver.engine.tokenize("<|im_start|>")
    assert start in shown.tokens
    assert shown.data.replace(b"<|im_start|>", b"") == hidden.data
    assert shown.data != hidden.data


def test_a_token_that_ends_the_text_ends_it(driver):
    chat = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    text = driver.alone(chat, most=40, visible=("<|im_end|>",))
    assert (text.data, text.end.reason) == (b"The capital of France is Paris.", "stop")


@pytest.mark.parametrize("tag", ["", "not a token", "<|im_start|><|im_start|>", "Paris"])
def test_what_is_no_control_token_changes_nothing(driver, tag):
    constraint = Constraint(grammar=LLMatcher.grammar_from_regex("Paris|Rome"))
    plain = driver.alone(TURN, constraint=constraint)
    assert driver.alone(TURN, constraint=constraint, visible=(tag,)).tokens == plain.tokens
