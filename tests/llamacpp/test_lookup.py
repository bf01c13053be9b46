"""Drafts from the text itself, against a search that tries everything."""

from __future__ import annotations

from timeit import repeat

from hypothesis import example, given, settings, strategies as st

from remuda import Engine
from remuda_llamacpp.drafts.lookup import Lookup

TEXTS = st.integers(1, 5).flatmap(lambda alphabet: st.lists(st.integers(0, alphabet), max_size=60))


def told(tokens: list[int], room: int = 1000) -> Lookup:
    lookup = Lookup(room)
    lookup.extend(tokens)
    return lookup


def searched(tokens: list[int], most: int) -> list[int]:
    """What followed the latest of the longest matches of 8 to 2 tokens, read on into the draft itself."""
    for length in range(8, 1, -1):
        for end in range(len(tokens) - 1, length - 1, -1):
            if tokens[end - length : end] == tokens[-length:]:
                text = list(tokens)
                for place in range(end, end + most):
                    text.append(text[place])
                return text[len(tokens) :]
    return []


@settings(deadline=None)
@given(TEXTS, st.integers(0, 20), st.integers(0, 60))
@example([3, 3], 4, 0)
@example([9, 1, 2, 3, 4, 5, 6, 7, 50, 8, 1, 2, 3, 4, 5, 6, 7, 60, 9, 1, 2, 3, 4, 5, 6, 7], 1, 0)
@example([1, 2, 3] * 200 + [1, 2], 4, 0)
@example([7, 8, 9, 5] + [5, 1] * 400 + [7, 8], 4, 0)
def test_it_finds_what_a_full_search_finds(tokens: list[int], most: int, known: int) -> None:
    lookup = told(tokens[:known])
    for token in tokens[known:]:
        lookup.push(token)
    assert lookup.draft(most) == searched(tokens, most)


def test_the_longest_match_counts_and_of_equals_the_latest() -> None:
    assert told([1, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3]).draft(1) == [50]
    assert told([1, 2, 3, 50, 1, 2, 3, 60, 1, 2, 3]).draft(1) == [60]


def test_a_text_that_goes_round_in_circles_goes_on_in_its_draft() -> None:
    assert told([9, 1, 2, 3, 1, 2, 3]).draft(8) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert told([4, 4, 4]).draft(5) == [4] * 5


def test_a_frequent_token_does_not_hide_a_longer_match_far_up() -> None:
    assert told([1, 2, 3, 77, *[0, 3] * 400, 1, 2, 3]).draft(1) == [77]


def test_nothing_is_drafted_where_nothing_repeats() -> None:
    assert told(list(range(500))).draft(8) == []
    assert told([1, 2, 3, 2]).draft(8) == []  # a single token is no match
    assert told([]).draft(8) == []
    assert told([5]).draft(8) == []


def test_no_place_of_an_image_is_drafted() -> None:
    image = [Engine.MEDIA] * 4
    assert told([1, 2, 3, *image, 7, 1, 2]).draft(8) == [3]
    assert told([1, 2, *image, 7, 1, 2]).draft(8) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=12), st.integers(4, 40))
def test_room_is_all_that_it_takes(parts: list[list[int]], room: int) -> None:
    lookup, text = Lookup(room), list[int]()
    for part in parts:
        if len(part) % 2:
            lookup.extend(part)
        else:
            for token in part:
                lookup.push(token)
        text += part
        # It remembers some of the newest tokens: half its room at least, or all that there were.
        least = min(len(text), room // 2)
        remembered = (text[len(text) - count :] for count in range(least, min(len(text), room) + 1))
        assert lookup.draft(6) in [searched(tokens, 6) for tokens in remembered]


def test_it_is_quick() -> None:
    prompt = [number * number % 4093 for number in range(6000)]
    lookup = Lookup(100_000)
    assert min(repeat(lambda: Lookup(8192).extend(prompt), number=1, repeat=5)) < 5e-3
    lookup.extend(prompt)
    assert min(repeat(lambda: lookup.push(7), number=1000, repeat=5)) / 1000 < 5e-6
    assert min(repeat(lambda: lookup.draft(16), number=10, repeat=5)) / 10 < 500e-6
