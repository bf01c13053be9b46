"""What a sequence's drafts are worth, as its own text shows."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from remuda_llamacpp.drafts.acceptance import Acceptance
from remuda_llamacpp.drafts.drafting import Drafter, Drafters, Source


class Foretold(Source):
    """The text is 0, 1, 2, ...; `right` says of each token whether a draft knows it."""

    most = 8

    def __init__(self, right: list[bool], every: int = 1) -> None:
        self.every = every
        self.right, self.said = right, 0
        self.asked: list[int] = []

    def extend(self, tokens: object) -> None:
        raise AssertionError("the prompt is told by whoever made the source")

    def push(self, token: int) -> None:
        assert token == self.said
        self.said += 1

    def draft(self, most: int) -> list[int]:
        self.asked.append(most)
        return [
            token if self.right[token] else -7 for token in range(self.said, min(self.said + most, len(self.right)))
        ]


class Silent(Foretold):
    def draft(self, most: int) -> list[int]:
        return []


def shadowed(right: list[bool], most: int | None = None) -> Drafter:
    """A drafter after `most` steps without a draft being decoded, or as many as `right` is long."""
    drafter = Drafter(Foretold(right + [True] * 8))
    for token in range(len(right) if most is None else most):
        drafter.offer()
        drafter.push(token)
    return drafter


def test_nothing_is_promised_before_something_was_right() -> None:
    assert Drafter(Foretold([True] * 9)).offer() == [0.0] * 8
    assert max(shadowed([False] * 50).offer()) == 0


def test_drafts_that_nobody_decodes_show_what_they_are_worth() -> None:
    assert shadowed([True] * 12).offer()[0] > 0.9
    assert sum(shadowed([True] * 200).offer()) > 7.5


def test_without_a_draft_there_is_nothing_to_offer() -> None:
    drafter = Drafter(Silent([]))
    for token in range(20):
        assert drafter.offer() == []
        assert drafter.propose(4) == []
        drafter.push(token)


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.9])
def test_where_hits_come_at_random_each_token_is_as_likely_as_the_last(rate: float) -> None:
    random = Random(3)
    drafter = shadowed([random.random() < rate for _ in range(3000)])
    first, second, third, *_ = drafter.offer()
    assert first == pytest.approx(rate, abs=0.12)
    assert second / first == pytest.approx(rate, abs=0.12)
    assert third / second == pytest.approx(rate, abs=0.12)


def test_where_stretches_alternate_the_present_run_tells() -> None:
    passage = [True] * 20 + [False] * 10
    quoting, between = shadowed(passage * 8, 7 * 30 + 8), shadowed(passage * 8, 7 * 30 + 25)
    assert quoting.offer()[0] > 0.9
    assert between.offer()[0] < 0.3


def test_what_was_good_for_long_is_distrusted_after_a_few_misses() -> None:
    right = [True] * 1000
    assert shadowed(right + [False] * 3).offer()[0] < 0.6
    assert shadowed(right + [False] * 12).offer()[0] < 0.1
    assert shadowed(right + [False] * 12 + [True] * 4).offer()[0] > 0.8


def test_a_draft_that_is_right_so_far_is_kept() -> None:
    drafter = Drafter(source := Foretold([True] * 40))
    for token in range(20):
        drafter.offer()
        drafter.push(token)
    assert source.asked == [8] * 4
    # When it was wrong, the next step makes another.
    drafter = Drafter(source := Foretold([False] * 40))
    for token in range(20):
        drafter.offer()
        drafter.push(token)
    assert len(source.asked) == 20


def test_a_proposal_is_the_beginning_of_the_draft() -> None:
    drafter = Drafter(source := Foretold([True, True, False, *[True] * 20]))
    assert len(drafter.offer()) == 8
    assert drafter.propose(3) == [0, 1, -7]
    assert drafter.propose(0) == []
    assert source.asked == [8]
    for token in (0, 1, 2):
        drafter.push(token)
    assert drafter.propose(2) == [3, 4]


def test_a_source_that_takes_time_is_asked_rarely_or_when_it_counts() -> None:
    drafter = Drafter(source := Foretold([True] * 200, every=50))
    for token in range(40):
        drafter.offer()
        drafter.push(token)
    assert source.asked == [8]
    # That shadow draft was right. It is used up, but another can be had.
    assert sum(drafter.offer()) > 4
    assert drafter.propose(3) == [40, 41, 42]
    assert source.asked == [8, 3]
    for token in range(40, 90):
        drafter.offer()
        drafter.push(token)
    assert source.asked == [8, 3, 8]


class Behind(Foretold):
    """Has to read as many steps long, and then still takes a nanosecond for each token."""

    def __init__(self, right: list[bool], behind: int) -> None:
        super().__init__(right, every=50)
        self.behind = behind

    def follow(self) -> bool:
        self.behind -= 1
        return self.behind < 0

    def cost(self, count: int) -> float:
        return float(count)


def test_a_source_that_must_read_first_offers_nothing_meanwhile() -> None:
    drafter = Drafter(source := Behind([True] * 40, behind=3))
    offers = []
    for token in range(9):
        offers.append(sum(drafter.offer()) > 0)
        drafter.push(token)
    assert offers == [False] * 4 + [True] * 5, "a shadow draft in the fourth step, which shows itself in the fifth"
    assert source.asked == [8]


def test_what_is_drafted_already_costs_nothing() -> None:
    drafter = Drafter(Behind([True] * 40, behind=0))
    drafter.offer()
    for token in range(5):
        drafter.push(token)
    assert [drafter.cost(count) for count in (0, 3, 4)] == [0, 0, 4]


class Brief(Foretold):
    """Knows two tokens at a time."""

    def draft(self, most: int) -> list[int]:
        return super().draft(most)[:2]


def test_a_draft_that_was_offered_and_ends_early_has_missed() -> None:
    drafter = Drafter(source := Brief([True] * 400, every=50))
    said = 0
    for _ in range(40):
        drafter.offer()
        draft = drafter.propose(4)
        assert len(draft) == 2
        for _ in range(3):
            drafter.push(said)
            said += 1
    first, second, third, *_ = drafter.offer()
    assert first > 0.9
    assert second > 0.8
    assert third < 0.2
    # The same where it costs nothing: then it is only offered what there is.
    free = Drafter(Brief([True] * 40))
    for token in range(10):
        free.offer()
        free.push(token)
    assert len(free.offer()) <= 2
    assert source.asked[1:] == [4] * 39


@pytest.mark.parametrize(
    ("cheap", "dear", "taken"),
    [(True, True, "cheap"), (True, False, "cheap"), (False, True, "dear"), (None, True, "dear"), (None, False, "dear")],
)
def test_of_several_the_first_that_is_likely_is_taken(cheap: bool | None, dear: bool, taken: str) -> None:
    sources = {
        "cheap": Silent([]) if cheap is None else Foretold([cheap] * 90),
        "dear": Foretold([dear] * 90, every=8),
    }
    drafters = Drafters([Drafter(source) for source in sources.values()])
    for token in range(60):
        drafters.offer()
        drafters.push(token)
    assert [source.said for source in sources.values()] == [60, 60]
    chances, asked = drafters.offer(), {name: list(source.asked) for name, source in sources.items()}
    assert (chances[0] > 0.9) == (cheap is True or dear)
    drafters.propose(8)
    assert [name for name in sources if sources[name].asked != asked[name]] in ([taken], [])
    assert drafters.propose(1) == ([60] if cheap is True or dear else [-7])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=400), st.integers(0, 20))
def test_chances_are_probabilities_that_fall(hits: list[bool], count: int) -> None:
    acceptance = Acceptance()
    for hit in hits:
        acceptance.note(hit)
    chances = acceptance.chances(count)
    assert len(chances) == count
    assert all(0 <= chance <= 1 for chance in chances)
    assert all(later <= earlier for earlier, later in pairwise(chances))
