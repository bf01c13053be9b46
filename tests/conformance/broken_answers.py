"""Engines that break one promise each about all but their sequences, and by which tests that must be found.

Not collected by itself: `test_broken.py` runs it, and counts what fails.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence as ListOf
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import structs
from toy_engine import BOS, Live, ToyEngine

from remuda import BadRequest, Constraint, Sequence, TokenLogprob
from remuda.errors import EngineError
from remuda.testing import EngineConformance
from remuda.testing.conformance.engine.fixtures import EngineFixtures

from .breaking import Caught, suites

CAUGHT: Caught[ToyEngine] = Caught()
caught_by = CAUGHT.by


# --- tokens ---


@caught_by("test_a_text_comes_back_from_its_tokens[two bytes]", "test_a_long_text_is_tokenized_in_bounded_time")
class SpellsBadly(ToyEngine):
    def detokenize(self, tokens: Iterable[int]) -> bytes:
        return super().detokenize(tokens).decode().encode("ascii", "ignore")[:5000]


@caught_by("test_a_zero_byte_is_a_character_like_any_other")
class StopsAtZero(ToyEngine):
    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return super().tokenize(text.partition("\0")[0], bos=bos)


@caught_by("test_the_beginning_of_sequence_comes_once")
class BeginsTwice(ToyEngine):
    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return [BOS] * bos + super().tokenize(text, bos=False)


@caught_by("test_tokens_are_in_the_vocabulary[True]")
class CountsFromOne(ToyEngine):
    vocabulary = BOS

    def submit(self, sequence: Sequence) -> None:
        self.vocabulary, size = ToyEngine.vocabulary, self.vocabulary
        super().submit(sequence)
        self.vocabulary = size


# --- log probabilities, constraints ---


@caught_by("test_options_do_not_change_them", "test_they_are_logarithms_of_probabilities")
class TellsLogits(ToyEngine):
    def logprob(self, live: Live, token: int) -> TokenLogprob | None:
        told = super().logprob(live, token)
        heat = live.sequence.options.temperature
        return told and TokenLogprob(
            told.data, told.logprob, [structs.replace(one, logprob=one.logprob * (1 - heat / 3)) for one in told.top]
        )


@caught_by("test_as_many_as_were_asked_for_likeliest_first[5]", "test_a_greedy_token_is_the_likeliest")
class TellsTheUnlikely(ToyEngine):
    def logprob(self, live: Live, token: int) -> TokenLogprob | None:
        told = super().logprob(live, token)
        return told and structs.replace(told, top=told.top[::-1])


@caught_by("test_an_object_parses_wherever_it_is_cut")
class LeavesItIncomplete(ToyEngine):
    def end(self, live: Live, reason: str, events: list[Any]) -> None:
        super().end(live, reason, events)
        events[-1] = structs.replace(events[-1], tail=b"")


@caught_by("test_the_host_may_ask_what_is_missing_at_any_time")
class ForgetsWhatIsMissing(ToyEngine):
    def complete(self, id: int) -> bytes:
        return super().complete(id)[:-1]


@caught_by("test_a_text_matches_and_then_ends", "test_a_schema_holds_whatever_is_drawn")
class KeepsToNothing(ToyEngine):
    def submit(self, sequence: Sequence) -> None:
        super().submit(structs.replace(sequence, compiled=None))


@caught_by("test_each_text_has_its_own", "test_a_constraint_is_gone_with_its_text")
class SharesItsGrammar(ToyEngine):
    last: Any = None

    def submit(self, sequence: Sequence) -> None:
        self.last = sequence.compiled or self.last
        super().submit(structs.replace(sequence, compiled=self.last))


@caught_by("test_a_grammar_that_is_none_is_a_bad_request[{]")
class FailsToCompile(ToyEngine):
    def compile(self, constraint: Constraint) -> Any:
        try:
            return super().compile(constraint)
        except BadRequest:
            raise RuntimeError("native code has failed") from None


# --- vectors, figures, the end ---


@caught_by("test_a_vector_for_each_input", "test_a_vector_is_that_of_its_text")
class MixesVectors(ToyEngine):
    def embed(self, inputs: Iterable[list[int]]) -> list[bytes]:
        vectors = super().embed(inputs)
        return [vectors[0]] * len(vectors)


@caught_by("test_an_input_is_cut_to_its_limit", "test_one_input_may_fill_the_context")
class CutsNothing(ToyEngine):
    def tokenize_input(self, text: str, limit: int) -> tuple[list[int], int]:
        return super().tokenize_input(text, max(limit, 100_000))


@caught_by("test_a_call_that_is_closed_leaves_no_trace")
class EmbedsTheRestOfTheLast(ToyEngine):
    begun: tuple[int, ...] = ()

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        mixed = [[*self.begun, *tokens] for tokens in inputs]
        self.begun = tuple(inputs[0])
        yield
        self.begun = ()
        return self.embed(mixed)


@caught_by("test_a_call_that_is_closed_frees_what_it_held")
class KeepsThePlaceOfAnEmbedding(ToyEngine):
    held = 0

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        self.held += 1
        yield
        self.held -= 1
        return (yield from super().embedding(inputs))

    def submit(self, sequence: Sequence) -> None:
        if len(self.live) + self.held >= self.parallel:
            raise EngineError("every place is taken")
        super().submit(sequence)


@caught_by("test_texts_and_vectors_take_turns[0]", "test_texts_and_vectors_take_turns[2]")
class LetsEachWaitForTheOther(ToyEngine):
    embeds = False

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        self.embeds = True
        yield
        yield
        while self.live:
            yield
        self.embeds = False
        return self.embed(inputs)

    def step(self) -> list[Any]:
        return [] if self.embeds else super().step()


@caught_by("test_counters_keep_their_names", "test_totals_only_grow")
class MiscountsItsWork(ToyEngine):
    def counters(self) -> dict[str, float]:
        figures = super().counters()
        return {**figures, "pieces_total": figures["sequences_live"], **({"more": 1.0} if self.told else {})}


@caught_by("test_sizes_are_bytes")
class MeasuresInGigabytes(ToyEngine):
    def sizes(self) -> dict[str, int]:
        return {"size": 0.001}  # type: ignore[dict-item]


@caught_by("test_progress_is_a_part_of_the_whole")
class TellsPercent(ToyEngine):
    @classmethod
    def load(cls, spec: Any) -> ToyEngine:
        cls.progress(math.pi)
        return super().load(spec)


class _Broken(EngineFixtures):
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, toy: Path) -> Path:
        return toy


class TestLeavesOutWhatIsNoTest(_Broken):
    engine = ToyEngine
    skips: ClassVar = {"test_that_is_none": "a reason"}


class TestLeavesOutWithoutAReason(_Broken):
    engine = ToyEngine
    skips: ClassVar = {"test_every_skip_is_a_test_and_has_a_reason": " "}


globals().update(suites(CAUGHT, EngineConformance, _Broken, "engine"))
