"""Which tokens of a prompt are read together, and which of them in tiles."""

from __future__ import annotations

from itertools import chain, repeat

from hypothesis import example, given, settings, strategies as st

from remuda_llamacpp.texts.attention import TILE, TILED, last_tile, stretch, tile_start

LENGTHS = st.integers(1, 1500)
ROOMY = st.integers(2 * TILE, 1500)
"""Limits as they are where `num_batch` was not lowered."""


def read(length, start, limits):
    """The stretches of a prompt: where each begins, how long it is, and whether it is in tiles."""
    held, found = start, []
    for most in limits:
        if held == length:
            return found
        count, tiled = stretch(held, length, most)
        assert 1 <= count <= most
        found.append((held, count, tiled))
        held += count
    raise AssertionError("no end")


def paths(length, start, limits):
    """Of each token from `start` on, whether it was computed in tiles."""
    return [tiled for _, count, tiled in read(length, start, limits) for _ in range(count)]


def forever(limits):
    return chain(limits, repeat(limits[-1]))


def tiles(length):
    """Of each token, whether it is one of those that are computed in tiles where nobody is waiting."""
    return [TILED <= place < last_tile(length) for place in range(length)]


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(0, 1500), st.lists(st.integers(1, 700), min_size=1, max_size=20))
@example(641, 0, [1])
@example(700, 600, [7, 128, 65])
def test_every_token_is_read_once_whatever_the_limits(length, held, limits):
    held %= length
    stretches = read(length, held, forever(limits))
    assert sum(count for _, count, _ in stretches) == length - held


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(0, 1500), st.lists(st.integers(1, 700), min_size=1, max_size=20))
@example(641, 514, [100])
def test_what_is_read_in_tiles_is_no_less_than_a_tile_and_nowhere_else(length, held, limits):
    for start, count, tiled in read(length, held % length, forever(limits)):
        if tiled:
            assert count >= TILE
            assert start >= TILED
            assert start + count <= last_tile(length)
        else:
            # As many together would be computed in tiles, if the switch did not say otherwise: no stretch is of both.
            assert start + count <= TILED or start >= TILED or last_tile(length) == 0


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.lists(ROOMY, min_size=1, max_size=20))
def test_read_in_one_go_or_in_pieces_every_token_is_computed_the_same_way(length, limits):
    assert paths(length, 0, forever(limits)) == tiles(length)
    assert paths(length, 0, repeat(1500)) == tiles(length)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(0, 1500), st.lists(ROOMY, min_size=1, max_size=20))
@example(700, 600, [128])
@example(700, 639, [160])
@example(700, 640, [160])
def test_from_a_reused_beginning_every_token_is_computed_the_same_way(length, held, limits):
    start = tile_start(held % length, length)
    assert paths(length, start, forever(limits)) == tiles(length)[start:]


@given(LENGTHS, st.integers(0, 1500))
def test_a_prompt_is_begun_no_later_than_what_is_held_and_hardly_earlier(length, held):
    held %= length
    start = tile_start(held, length)
    assert held - TILE < start <= held
    assert tile_start(start, length) == start
    if held <= TILED:
        assert start == held


@given(LENGTHS)
def test_the_last_token_is_in_no_tile_and_the_tail_is_short(length):
    end = last_tile(length)
    assert end % TILE == 0
    assert end < length
    assert end == 0 or end >= TILED + TILE
    assert length - end <= TILE or length <= TILED + TILE


def test_up_to_512_tokens_nothing_is_in_tiles():
    assert last_tile(TILED + TILE) == 0
    assert last_tile(TILED + TILE + 1) == TILED + TILE
    assert not any(paths(TILED + TILE, 0, repeat(1500)))


@given(LENGTHS, st.integers(1, 300))
def test_no_more_stretches_than_the_limit_asks_for(length, most):
    """But for one at the beginning of the tiles, one before the last of them and one at their end."""
    assert len(read(length, 0, repeat(most))) <= -(-length // most) + 3
