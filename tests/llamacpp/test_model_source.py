"""What a draft model is worth is found out at little cost: on made-up texts, in a time of their own."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from remuda_llamacpp.drafts.acceptance import Acceptance
from remuda_llamacpp.drafts.drafting import Drafter
from remuda_llamacpp.drafts.model_source import ModelSource
from remuda_llamacpp.drafts.payoff import Payoff
from remuda_llamacpp.sizes import DRAFT_STRETCH
from remuda_llamacpp.threads.control import ThreadControl, Work

MS = 1_000_000
STEP = 60 * MS
"""What a token takes without drafts; each further row in a decode takes a twentieth of it."""


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


class Pretended:
    """As `DraftModel`. It reads a row of several in a millisecond, a single one in six; the text is 0, 1, 2, ..."""

    vocabulary = 50_000

    def __init__(self, clock: Clock, right: float, *, room: int = 8192, most: int = 4) -> None:
        """`right`: how many of its guesses are; a quarter of its drafts end at each token, because it is unsure."""
        self.room, self.most, self.right = room, most, right
        self.trust, self.acceptance = 0.5, Acceptance()
        self.clock, self.random = clock, random.Random(1)
        self.held = self.worked = 0
        self.owners: list[str] = []

    def serve(self, owner: str, threads: int) -> None:
        self.owners.append(owner)

    def missing(self, text: NDArray[np.int32]) -> int:
        return max(1, len(text) - self.held)

    def read(self, text: NDArray[np.int32]) -> None:
        count = min(DRAFT_STRETCH, self.missing(text))
        self.held += count
        self._work(count)

    def guess(self, text: NDArray[np.int32], most: int) -> list[int]:
        assert self.missing(text) <= DRAFT_STRETCH, "it has read along"
        self.read(text)
        guesses: list[int] = []
        while self.random.random() < 0.75:
            right = self.random.random() < self.right
            guesses.append(int(text[-1]) + 1 + len(guesses) if right else 0)
            if len(guesses) == most:
                break
            self._work(1)
        return guesses

    def cost(self, count: int) -> float:
        return (5 + count) * MS

    def _work(self, rows: int) -> None:
        self.clock.now += (5 + rows) * MS
        self.worked += (5 + rows) * MS


class World:
    """One sequence after the other, each alone."""

    def __init__(self, right: float) -> None:
        self.clock = Clock()
        self.model = Pretended(self.clock, right)
        self.control = ThreadControl((1,), clock=self.clock, idle=lambda now: None)
        self.payoff = Payoff(17)

    def write(self, prompt: int = 100, most: int = 200) -> float:
        """A text; how many times as fast as without drafts."""
        source = ModelSource(self.model, "me", lambda: 1, clock=self.clock)  # type: ignore[arg-type]
        source.extend(np.arange(prompt, dtype=np.int32))
        drafter = Drafter(source, self.model.acceptance)
        self.model.held, began, token, end = 0, self.clock.now, prompt, prompt + most
        drafter.push(token)

        def cost(rows: int) -> float | None:
            decode = self.control.expect(Work.DECODE, rows)
            return None if decode is None else decode + drafter.cost(rows - 1)

        while token < end:
            (count,) = self.payoff.share([drafter.offer()], cost)
            draft = drafter.propose(count) if count else []
            spent = STEP + len(draft) * STEP // 20
            self.clock.now += spent
            self.control.note(Work.DECODE, 1 + len(draft), 1, spent)
            for guess in [*draft, -1]:
                token += 1
                drafter.push(token)
                if guess != token:
                    break
        return (token - prompt) * STEP / (self.clock.now - began)


def test_a_good_model_makes_texts_faster_from_the_second_on() -> None:
    world = World(right=0.9)
    first, *others = [world.write() for _ in range(5)]
    assert first > 1.2
    assert min(others) > 1.5


def test_a_model_that_is_never_right_soon_costs_next_to_nothing() -> None:
    world = World(right=0.02)
    speeds = [world.write() for _ in range(5)]
    assert speeds[0] > 0.85
    assert min(speeds[2:]) > 0.95


def test_a_model_that_became_better_is_trusted_again() -> None:
    world = World(right=0.02)
    for _ in range(4):
        world.write()
    world.model.right = 0.95
    assert [world.write() for _ in range(3)][-1] > 1.5


@pytest.mark.parametrize("right", [0.02, 0.9])
def test_for_short_answers_to_long_prompts_little_is_read(right: float) -> None:
    world = World(right)
    speeds = [world.write(prompt=3000, most=12) for _ in range(6)]
    assert speeds[0] > 0.7
    assert min(speeds[3:]) > 0.85
    assert world.model.held < 3000


def test_what_is_spent_is_bounded_by_trust() -> None:
    world = World(right=0.02)
    source = ModelSource(world.model, "me", lambda: 1, clock=world.clock)  # type: ignore[arg-type]
    source.extend(np.arange(1000, dtype=np.int32))
    assert (source.follow(), source.shadow(), world.model.held) == (False, None, 0), "no time has passed"
    began = world.clock.now
    while True:
        world.clock.now += 10 * MS
        before, passed = world.model.worked, world.clock.now - began
        if source.follow():
            break
        step = world.model.worked - before
        assert step <= (5 + DRAFT_STRETCH) * MS
        assert (step > 0) == (before < world.model.trust * passed)
    assert world.model.missing(source._text) <= DRAFT_STRETCH
    assert set(world.model.owners) == {"me"}


def small(room: int = 64) -> tuple[Pretended, ModelSource]:
    model = Pretended(Clock(), 1.0, room=room)
    return model, ModelSource(model, "", lambda: 1, clock=model.clock)  # type: ignore[arg-type]


def test_a_text_that_outgrows_its_room_goes_on_with_its_newer_half() -> None:
    model, source = small()
    source.extend(list(range(200)))
    assert source._text.tolist() == list(range(140, 200)), "four are left for a draft"
    for token in range(200, 400):
        source.push(token)
        assert 32 < len(source._text) <= 60
        assert source._text.tolist() == list(range(token + 1 - len(source._text), token + 1))
    source.extend(list(range(400, 450)))
    assert source._text.tolist() == list(range(390, 450))
    assert model.room == 64


def test_places_of_images_and_foreign_tokens_are_replaced() -> None:
    model, source = small()
    source.extend(np.array([-1, -1, 7], np.int32))
    source.push(10**6)
    assert source._text.tolist() == [0, 0, 7, model.vocabulary - 1]
