"""Where a new sequence goes, decided on tokens alone."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from remuda_llamacpp.slots import Place, Slots, common

BASES = [np.arange(100, dtype=np.int32), np.arange(100, dtype=np.int32) + 50, np.full(100, 7, np.int32)]
"""Texts begin like one of these."""


OWNERS = ["", "alice"]
SEEDS = st.integers(0, 2**32)


def some_text(pick: random.Random) -> np.ndarray:
    tail = [pick.randrange(10) for _ in range(pick.choice([0, 1, 5, 30]))]
    return np.concatenate([pick.choice(BASES)[: pick.choice([0, 1, 30, 90, 100])], np.array(tail, np.int32)])


def text(*runs: range) -> np.ndarray:
    return np.array([token for run in runs for token in run], np.int32)


# --- what two texts begin with ---


@given(SEEDS)
def test_common_counts_the_tokens_that_both_begin_with(seed):
    pick = random.Random(seed)
    one, other = some_text(pick), some_text(pick)
    count = common(one, other)
    assert count == common(other, one)
    assert one[:count].tolist() == other[:count].tolist()
    assert count == min(len(one), len(other)) or one[count] != other[count]


def test_common_of_a_text_with_itself_is_all_of_it():
    assert common(BASES[0], BASES[0]) == 100
    assert common(BASES[0], BASES[0][:0]) == 0


# --- any number of slots, in any state ---


class Board:
    """Slots that have seen some sequences, some of them in use, and a prompt to be placed."""

    def __init__(self, seed):
        pick = random.Random(seed)
        count, self.whole = pick.randint(1, 7), pick.random() < 0.3
        self.slots, self.ended = Slots(count, whole=self.whole), {}
        for time in range(pick.choice([0, 3, 12])):
            slot = pick.randrange(count)
            self.slots.keep(slot, some_text(pick), pick.choice(OWNERS))
            self.ended[slot] = time
        self.taken, self.owners = {}, {}
        for slot in pick.sample(range(count), pick.randrange(count)):
            self.slots.drop(slot)
            self.taken[slot], self.owners[slot] = some_text(pick), pick.choice(OWNERS)
        self.free = [slot for slot in range(count) if slot not in self.taken]
        self.prompt, self.whose = np.append(some_text(pick), np.int32(9)), pick.choice(OWNERS)
        self.place = self.slots.place(self.prompt, self.whose, self.taken, self.owners)

    def held(self, slot):
        return self.taken[slot] if slot in self.taken else self.slots.kept(slot)

    def owner(self, slot):
        return self.owners[slot] if slot in self.taken else self.slots.owner(slot)

    def shared(self, slot):
        """What the prompt could take over from a slot at best."""
        here = min(common(self.prompt, self.held(slot)), len(self.prompt) - 1)
        usable = self.owner(slot) == self.whose and not (self.whole and here < len(self.held(slot)))
        return here if usable else 0

    @property
    def longest(self):
        return max(self.shared(slot) for slot in range(self.slots.count))

    def runs(self, slot):
        """Micro-batches in which those in use would be decoded together with `slot`."""
        busy = sorted({*self.taken, slot})
        return 1 + sum(later - earlier > 1 for earlier, later in pairwise(busy))

    def between(self, slot):
        return bool(self.taken) and min(self.taken) < slot < max(self.taken)


BOARDS = settings(max_examples=150, deadline=None)


@BOARDS
@given(SEEDS)
def test_a_place_is_free_and_holds_what_it_promises(seed):
    board = Board(seed)
    place = board.place
    assert place.slot in board.free
    assert 0 <= place.shared < len(board.prompt)
    assert place.shared <= board.shared(place.source)
    if not place.shared:
        assert place.source == place.slot, "nothing to be copied"
    elif board.whole:
        assert place.shared == len(board.held(place.source)), "it can't be cut back"


@BOARDS
@given(SEEDS)
def test_a_place_splits_the_slots_in_use_no_further_than_it_must(seed):
    board = Board(seed)
    assert board.runs(board.place.slot) == min(map(board.runs, board.free))
    assert board.between(board.place.slot) or not any(map(board.between, board.free))


@BOARDS
@given(SEEDS)
def test_the_longest_beginning_is_taken_over_or_none(seed):
    board = Board(seed)
    assert board.place.shared in {0, board.longest}
    if board.longest >= 64:  # more than it costs to copy any of these
        assert board.place.shared == board.longest


@BOARDS
@given(SEEDS)
def test_of_the_slots_that_may_be_written_over_the_oldest_is(seed):
    board = Board(seed)
    slot, kept = board.place.slot, board.slots.kept
    if (board.place.source == slot and board.place.shared) or not len(kept(slot)):
        return  # it goes on with what is there, or nothing is lost
    others = [other for other in board.free if other not in {slot, board.place.source}]
    others = [other for other in others if board.runs(other) == board.runs(slot)]
    others = [other for other in others if board.between(other) == board.between(slot)]
    # The one that holds the most of this prompt is spared.
    others = [other for other in others if not board.longest or board.shared(other) < board.longest]
    assert all(len(kept(other)) for other in others), "an empty one was there"
    assert all(board.ended[slot] < board.ended[other] for other in others)


# --- the rules one by one ---


@pytest.fixture
def slots():
    return Slots(4)


def keep(slots, *texts, owner=""):
    for slot, tokens in enumerate(texts):
        slots.keep(slot, tokens, owner)


def place(slots, prompt, taken=(), owner=""):
    held = {slot: slots.kept(slot) for slot in taken}
    owners = {slot: slots.owner(slot) for slot in taken}
    for slot in taken:
        slots.drop(slot)
    return slots.place(prompt, owner, held, owners)


def test_a_conversation_that_goes_on_takes_its_slot(slots):
    keep(slots, text(range(40)), text(range(100, 140)), text(range(200, 240)))
    assert place(slots, text(range(100, 140), range(60))) == Place(1, 1, 40)


def test_the_same_prompt_again_takes_the_slot_but_for_one_token(slots):
    keep(slots, text(range(90)))
    assert place(slots, text(range(50))) == Place(0, 0, 49)


def test_a_slot_that_holds_much_more_is_copied_and_stays(slots):
    keep(slots, text(range(400)))
    assert place(slots, text(range(50), range(60))) == Place(1, 0, 50)
    assert len(slots.kept(0)) == 400


def test_a_slot_in_use_is_copied(slots):
    keep(slots, text(range(100)))
    assert place(slots, text(range(80)), taken=[0]) == Place(1, 0, 79)


def test_the_only_free_slot_is_taken_though_it_holds_more(slots):
    keep(slots, *(text(range(start, start + 400)) for start in (0, 1000, 2000, 3000)))
    assert place(slots, text(range(50), range(70)), taken=[1, 2, 3]) == Place(0, 0, 50)


def test_of_equals_one_that_needs_no_copy_is_taken(slots):
    keep(slots, text(range(60)), text(range(60)))
    assert place(slots, text(range(60), range(9)), taken=[0]) == Place(1, 1, 60)


def test_a_few_tokens_of_a_long_text_are_not_worth_a_copy(slots):
    keep(slots, text(range(5000)))
    assert place(slots, text(range(10), range(700, 800))).shared == 0


def test_what_belongs_to_others_is_out_of_reach(slots):
    keep(slots, text(range(100)), owner="alice")
    assert place(slots, text(range(100)), owner="bob").shared == 0
    assert place(slots, text(range(100)), owner="alice").shared == 99
    assert place(slots, text(range(100)), taken=[0]).shared == 0


def test_empty_slots_come_before_the_least_recently_used(slots):
    keep(slots, text(range(20)), text(range(100, 120)), text(range(200, 220)))
    assert place(slots, text(range(900, 950))).slot == 3
    slots.keep(3, text(range(300, 320)), "")
    slots.keep(0, text(range(20)), "")
    assert place(slots, text(range(900, 950))).slot == 1
    assert slots.latest() == [0, 3, 2, 1]


def test_a_slot_that_was_dropped_holds_nothing(slots):
    keep(slots, text(range(100)))
    slots.drop(0)
    assert len(slots.kept(0)) == 0
    assert place(slots, text(range(100))).shared == 0


@pytest.mark.parametrize(
    ("taken", "slot"), [([0, 2], 1), ([1], 0), ([1, 2], 0), ([2, 3], 1), ([0, 1], 2), ([0, 1, 3], 2)]
)
def test_sequences_stand_side_by_side(slots, taken, slot):
    keep(slots, *(text(range(start, start + 20)) for start in (0, 100, 200, 300)))
    assert place(slots, text(range(900, 950)), taken=taken).slot == slot


def test_a_text_that_lies_apart_is_copied_to_where_the_others_are(slots):
    keep(slots, text(range(20)), text(range(100, 120)), text(range(200, 220)), text(range(300, 360)))
    assert place(slots, text(range(300, 360), range(9)), taken=[0]) == Place(1, 3, 60)


def test_a_memory_that_cannot_be_cut_gives_all_or_nothing():
    slots = Slots(2, whole=True)
    keep(slots, text(range(40)), text(range(100, 140)))
    assert place(slots, text(range(40))).shared == 0
    assert place(slots, text(range(39), range(5))).shared == 0
    assert place(slots, text(range(40), range(5))) == Place(0, 0, 40)
    assert place(slots, text(range(40), range(5)), taken=[0]) == Place(1, 0, 40)
