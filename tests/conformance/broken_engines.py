"""Engines that break one promise each about their sequences, and by which tests of the suite that must be found.

Not collected by itself: `test_broken.py` runs it, and counts what fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from toy_engine import BOS, Live, ToyEngine

from remuda import BadRequest, Ended, Piece, PromptRead, Sequence
from remuda.errors import EngineError
from remuda.testing import EngineConformance
from remuda.testing.conformance.engine.fixtures import EngineFixtures

from .breaking import Caught, suites

CAUGHT: Caught[ToyEngine] = Caught()
caught_by = CAUGHT.by


# --- events ---


@caught_by("test_nothing_comes_after_the_end")
class SpeaksAfterTheEnd(ToyEngine):
    def end(self, live: Live, reason: str, events: list[Any]) -> None:
        super().end(live, reason, events)
        events.append(Piece(live.sequence.id, 65, b"A"))


@caught_by("test_nothing_comes_after_the_end", "test_without_shift_the_limit_ends_it")
class EndsTwice(ToyEngine):
    def end(self, live: Live, reason: str, events: list[Any]) -> None:
        super().end(live, reason, events)
        events.append(Ended(live.sequence.id, reason))


@caught_by("test_the_prompt_is_read_once_and_the_text_follows")
class ReadsInSilence(ToyEngine):
    def step(self) -> list[Any]:
        return [event for event in super().step() if not isinstance(event, PromptRead)]


@caught_by("test_the_prompt_is_read_once_and_the_text_follows")
class Miscounts(ToyEngine):
    def step(self) -> list[Any]:
        return [
            structs.replace(event, tokens=event.tokens + 1) if isinstance(event, PromptRead) else event
            for event in super().step()
        ]


@caught_by("test_the_bytes_are_those_of_the_tokens")
class ShowsOtherBytes(ToyEngine):
    def step(self) -> list[Any]:
        return [
            structs.replace(event, data=event.data.swapcase()) if isinstance(event, Piece) else event
            for event in super().step()
        ]


@caught_by("test_what_it_offers_is_possible")
class OffersMore(ToyEngine):
    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self.parallel += 1


# --- what a text is made of ---


@caught_by("test_texts_together_are_the_texts_alone", "test_one_that_comes_and_goes_disturbs_nobody")
class MixesTexts(ToyEngine):
    def choose(self, live: Live) -> int:
        return super().choose(list(self.live.values())[-1])


@caught_by("test_drawn_texts_together_are_the_texts_alone", "test_a_seed_gives_the_same_text_again")
class SharesItsDice(ToyEngine):
    def choose(self, live: Live) -> int:
        self.dice = live.dice = getattr(self, "dice", live.dice)
        return super().choose(live)


@caught_by("test_seeds_give_different_texts")
class IgnoresSeeds(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        super().submit(structs.replace(sequence, seed=1))


@caught_by("test_what_was_said_before_leaves_no_trace", "test_a_longer_prompt_that_begins_alike_is_another_text")
class GoesOnFromBefore(ToyEngine):
    before: int = 65

    def submit(self, sequence: Sequence) -> None:
        super().submit(sequence)
        live = self.live[sequence.id]
        live.held[-1:] = [self.before]
        self.before = sequence.tokens[-1] % BOS


@caught_by("test_nothing_is_reused_for_another_owner")
class ReusesForAnybody(ToyEngine):
    known: tuple[int, ...] = ()

    def step(self) -> list[Any]:
        events = super().step()
        for place, event in enumerate(events):
            if isinstance(event, PromptRead):
                events[place] = structs.replace(event, cached=event.tokens if event.tokens in self.known else 0)
                self.known = (*self.known, event.tokens)
        return events


@caught_by("test_a_text_depends_on_its_prompt")
class HearsNothing(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        super().submit(structs.replace(sequence, tokens=[65] * len(sequence.tokens)))


@caught_by("test_no_temperature_is_the_likeliest_token", "test_a_greedy_text_is_the_same_each_time")
class IsNeverCold(ToyEngine):
    def choose(self, live: Live) -> int:
        options = live.sequence.options
        live.sequence = structs.replace(live.sequence, options=structs.replace(options, temperature=2.0, top_p=1.0))
        return super().choose(live)


@caught_by("test_any_value_that_may_be_asked_for_gives_a_text[top_p-0.0]", "test_extremes_together_give_a_text[narrow]")
class DividesByZero(ToyEngine):
    def choose(self, live: Live) -> int:
        assert 1 / live.sequence.options.top_p
        return super().choose(live)


@caught_by("test_a_penalty_does_not_make_tokens_repeat[presence_penalty]")
class Praises(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        options = structs.replace(sequence.options, presence_penalty=-sequence.options.presence_penalty)
        super().submit(structs.replace(sequence, options=options))


# --- limits and leaving ---


@caught_by("test_without_shift_the_limit_ends_it", "test_the_whole_context_can_be_used")
class EndsOneTooLate(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        super().submit(structs.replace(sequence, limit=sequence.limit + 1))


@caught_by("test_with_shift_it_goes_on_past_the_limit", "test_it_goes_on_in_a_full_context")
class NeverShifts(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        super().submit(structs.replace(sequence, shift=False))


@caught_by(
    "test_cancel_before_the_first_step",
    "test_cancel_while_the_prompt_is_read",
    "test_cancel_while_writing",
    "test_one_that_comes_and_goes_disturbs_nobody",
)
class ForgetsToCancel(ToyEngine):
    def cancel(self, id: int) -> None:
        pass


@caught_by("test_cancel_while_writing", "test_cancel_while_the_prompt_is_read")
class LosesPlaces(ToyEngine):
    lost = 0

    def submit(self, sequence: Sequence) -> None:
        if len(self.live) + self.lost >= self.parallel:
            raise EngineError("every place is taken")
        super().submit(sequence)

    def cancel(self, id: int) -> None:
        self.lost += id in self.live
        super().cancel(id)


@caught_by("test_cancel_of_an_unknown_id_is_ignored", "test_cancel_twice_is_cancel_once")
class KnowsNoStrangers(ToyEngine):
    def cancel(self, id: int) -> None:
        del self.live[id]
        super().cancel(id)


@caught_by("test_an_interrupt_is_nobody_elses")
class InterruptsEverybody(ToyEngine):
    def interrupt(self, id: int) -> None:
        for other in list(self.live):
            self.cancel(other)


@caught_by("test_a_step_reads_no_more_than_a_batch")
class ReadsInOneGo(ToyEngine):
    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self.batch = spec.context


@caught_by("test_prompts_together_take_as_many_steps_as_one_by_one")
class ReadsForEverybody(ToyEngine):
    def step(self) -> list[Any]:
        events: list[Any] = []
        for _ in range(max(1, len(self.waiting))):
            events += super().step()
        return events


@caught_by("test_one_that_leaves_is_read_no_further")
class ReadsToTheEnd(ToyEngine):
    """Also the prompts of those who have left."""

    wasted = 0

    def cancel(self, id: int) -> None:
        if id in self.waiting:
            self.wasted += len(self.live[id].sequence.tokens) // self.batch
        super().cancel(id)

    def step(self) -> list[Any]:
        if self.wasted:
            self.wasted -= 1
            return []
        return super().step()


@caught_by("test_a_stream_goes_on_while_a_prompt_is_read")
class ReadsFirst(ToyEngine):
    def write(self, live: Live, events: list[Any]) -> None:
        if not any(self.live[id].read < len(self.live[id].sequence.tokens) for id in self.waiting):
            super().write(live, events)


@caught_by("test_a_short_one_ends_beside_a_long_prompt", "test_texts_together_are_the_texts_alone")
class ServesTheOldestOnly(ToyEngine):
    """And waits for it to be cancelled after its end."""

    def step(self) -> list[Any]:
        self.oldest = getattr(self, "oldest", min(self.live))
        return [event for event in super().step() if event.id == self.oldest or len(self.live) < 2]


@caught_by("test_an_impossible_prompt_fails[no room]", "test_an_impossible_prompt_fails[above the vocabulary]")
class TakesAnything(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        limit = max(sequence.limit, len(sequence.tokens) + 1)
        tokens = [min(max(token, 0), self.vocabulary - 1) for token in sequence.tokens]
        super().submit(structs.replace(sequence, tokens=tokens, limit=limit))


@caught_by("test_an_impossible_prompt_harms_nobody_else[empty]")
class PanicsWhenAsked(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        try:
            super().submit(sequence)
        except BadRequest:
            self.live.clear()
            self.waiting.clear()
            raise


@caught_by("test_one_more_than_there_are_places_is_refused")
class HasNoEndOfPlaces(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        self.parallel, places = 99, self.parallel
        super().submit(sequence)
        self.parallel = places


class _Broken(EngineFixtures):
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, toy: Path) -> Path:
        return toy


globals().update(suites(CAUGHT, EngineConformance, _Broken, "engine"))
