"""The same conversation is known again by its beginning."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from remuda_remote.affinity import BLOCK, BLOCKS, Affinity, marks

EVERYBODY = ("a", "b")


def test_a_longer_turn_of_the_same_conversation() -> None:
    affinity = Affinity()
    first = b"s" * BLOCK + b"hello there " * 50
    affinity.remember(marks("m", first), "a")
    assert affinity.favoured(marks("m", first + b" and a long answer" * 40), EVERYBODY) == "a"
    assert affinity.favoured(marks("other", first), EVERYBODY) is None
    assert affinity.favoured(marks("m", b"x" + first), EVERYBODY) is None


def test_the_longest_known_beginning_counts() -> None:
    affinity, system = Affinity(), b"s" * BLOCK * 2
    affinity.remember(marks("m", system + b"1" * BLOCK), "a")
    affinity.remember(marks("m", system + b"2" * BLOCK), "b")
    assert affinity.favoured(marks("m", system + b"1" * BLOCK * 3), EVERYBODY) == "a"
    assert affinity.favoured(marks("m", system + b"3" * BLOCK), EVERYBODY) == "b"
    assert affinity.favoured(marks("m", system + b"2" * BLOCK), ("a",)) is None


def test_what_is_shorter_than_a_block_is_no_conversation() -> None:
    assert marks("m", b"x" * (BLOCK - 1)) == []
    assert Affinity().favoured([], EVERYBODY) is None


def test_it_is_bounded() -> None:
    affinity = Affinity(size=3)
    first, later = marks("m", b"1" * BLOCK), marks("m", b"2" * BLOCK * 3)
    affinity.remember(first, "a")
    affinity.remember(later, "b")
    assert len(affinity) == 3
    assert affinity.favoured(first, EVERYBODY) is None
    assert affinity.favoured(later, EVERYBODY) == "b"
    assert len(marks("m", b"x" * BLOCK * (BLOCKS + 9))) == BLOCKS


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=BLOCK * 5), st.binary(max_size=BLOCK * 3), st.binary(max_size=BLOCK * 3))
def test_beginnings_that_are_equal_have_equal_marks(head: bytes, one: bytes, other: bytes) -> None:
    mine, yours = marks("m", head + one), marks("m", head + other)
    same = next((at for at, (a, b) in enumerate(zip(head + one, head + other, strict=False)) if a != b), None)
    common = min(len(head + one), len(head + other)) if same is None else same
    assert sum(a == b for a, b in zip(mine, yours, strict=False)) == common // BLOCK
