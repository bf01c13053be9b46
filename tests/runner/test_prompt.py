from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from remuda.errors import PromptTooLong
from remuda.runner.prompt import cut_prompt, kept_tokens


def test_a_prompt_that_fits_is_left_alone() -> None:
    assert cut_prompt([1, 2, 3], 4, 1, truncate=False) == ([1, 2, 3], 0)


def test_a_long_prompt_keeps_its_head_and_its_tail() -> None:
    tokens = list(range(100))
    cut, dropped = cut_prompt(tokens, 20, 4, truncate=True)
    assert cut[:4] == [0, 1, 2, 3]
    assert cut[4:] == tokens[-len(cut) + 4 :]
    assert len(cut) == 20 - (20 - 4) // 2
    assert dropped == 100 - len(cut)


def test_without_truncation_both_numbers_are_told() -> None:
    with pytest.raises(PromptTooLong, match=r"100 tokens.*at most 19"):
        cut_prompt(list(range(100)), 20, 4, truncate=False)


@given(st.integers(1, 300), st.integers(4, 64), st.integers(-1, 400), st.booleans())
def test_there_is_always_room_for_an_answer_and_something_to_forget(
    length: int, limit: int, keep: int, bos: bool
) -> None:
    tokens = list(range(length))
    kept = kept_tokens(keep, length, limit, bos)
    cut, dropped = cut_prompt(tokens, limit, kept, truncate=True)
    assert 0 < len(cut) < limit
    assert len(cut) + dropped == length
    assert kept <= limit - 4
    assert cut[-1] == tokens[-1]
