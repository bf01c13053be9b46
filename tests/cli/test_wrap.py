from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from remuda.cli.wrap import WordWrap, escaped, harmless

_STEP = re.compile(r"\x1b\[(\d+)D|\x1b\[K|(.|\n)", re.DOTALL)


def shown(output: str) -> list[str]:
    """The lines that a terminal shows for `output`."""
    lines, column = [""], 0
    for match in _STEP.finditer(output):
        back, character = match.groups()
        if back:
            column -= int(back)
        elif character == "\n":
            lines, column = [*lines, ""], 0
        elif character:
            lines[-1], column = lines[-1][:column] + character, column + 1
        else:
            lines[-1] = lines[-1][:column]
    return lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two ", "three"]),
        ("one two\nthree", ["one two", "three"]),
        ("exactly10!", ["exactly10!"]),
        ("exactly10! more", ["exactly10!", "more"]),
        ("abcdefghijklmno", ["abcdefghij", "klmno"]),
        ("a bcdefghijklm", ["a ", "bcdefghijk", "lm"]),
    ],
)
def test_a_word_that_does_not_fit_moves_to_the_next_line(text: str, lines: list[str]) -> None:
    assert shown(WordWrap(10).feed(text)) == lines


def test_wide_characters_take_two_cells() -> None:
    assert shown(WordWrap(10).feed("桜の花が咲いた")) == ["桜の花が咲", "いた"]


@given(st.lists(st.text("ab ,.\n", max_size=30)), st.integers(5, 30))
def test_pieces_make_no_difference_and_nothing_is_lost(pieces: list[str], width: int) -> None:
    wrap, text = WordWrap(width), "".join(pieces)
    lines = shown("".join(map(wrap.feed, pieces)))
    assert all(len(line) <= width for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert lines == shown(WordWrap(width).feed(text))


@given(st.lists(st.text("ab", min_size=1, max_size=8), min_size=1))
def test_words_stay_whole(words: list[str]) -> None:
    assert " ".join(shown(WordWrap(8).feed(" ".join(words)))).split() == words


def test_a_model_cannot_steer_the_terminal() -> None:
    assert harmless("a\x1b[2J\x07b\x9b1m\r\n\tc") == "a[2Jb1m\n\tc"


def test_what_cannot_be_seen_is_escaped() -> None:
    assert escaped("a\x1b[2J\0\x9b\r\n\t\u202e\u2029\ud800") == r"a\x1b[2J\x00\x9b\r\n\t\u202e\u2029\ud800"
    for text in ("", "é 桜\u3000\xa0", "\u200c\u200d", "\\x1b"):
        assert escaped(text) == text
