"""The best of several upstreams with a free place."""

from __future__ import annotations

from dataclasses import dataclass

from remuda_remote.choice import CLEARLY, choose


@dataclass
class One:
    load: float
    turn: float = 0.0
    warm: bool = False


def chosen(*ones: One, favoured: One | None = None) -> One:
    return choose(ones, favoured, lambda one: one.warm)


def test_the_least_load_then_the_turn() -> None:
    busy, later, next = One(1), One(0, turn=5), One(0, turn=3)
    assert chosen(busy, later, next) is next


def test_whoever_has_the_conversation_while_not_clearly_busier() -> None:
    favoured, warm = One(1 + CLEARLY), One(1, warm=True)
    assert chosen(warm, favoured, favoured=favoured) is favoured
    favoured.load += 0.1
    assert chosen(warm, favoured, favoured=favoured) is warm


def test_a_favoured_one_without_a_place_is_not_chosen() -> None:
    one = One(5)
    assert chosen(one, favoured=One(0)) is one
    other = One(6)
    assert chosen(one, other, favoured=One(0)) is one


def test_those_that_have_the_model_in_memory_while_not_clearly_busier() -> None:
    cold, busy, warm = One(0), One(4, warm=True), One(CLEARLY, warm=True)
    assert chosen(cold, busy, warm) is warm
    warm.load += 0.1
    assert chosen(cold, busy, warm) is cold


def test_where_all_have_it_in_memory_the_load_decides() -> None:
    more, less = One(2, warm=True), One(1, warm=True)
    assert chosen(more, less) is less
