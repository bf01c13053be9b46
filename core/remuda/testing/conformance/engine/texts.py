"""What a sequence tells, in which order, and that it depends on nothing but what was asked."""

from __future__ import annotations

from typing import Final

from .driver import Driver
from .fixtures import EngineFixtures

__all__ = ["TextTests"]

_DRAWN: Final = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}


class TextTests(EngineFixtures):
    def test_the_prompt_is_read_once_and_the_text_follows(self, driver: Driver) -> None:
        """`PromptRead` comes once, before the first `Piece`, with how many tokens were read and reused."""
        prompt = driver.lasting(8)
        said = driver.alone(prompt, most=8)
        assert said.read is not None
        assert said.read.tokens == len(prompt)
        assert 0 <= said.read.cached <= len(prompt)
        assert said.read.nanoseconds > 0
        assert said.ended.reason in {"stop", "length"}

    def test_nothing_comes_after_the_end(self, driver: Driver) -> None:
        """The `Driver` fails at an event of a sequence that has ended, while the next ones go on."""
        reasons = {driver.alone(prompt, most=4).ended.reason for prompt in driver.starts * 2}
        assert reasons <= {"stop", "length"}

    def test_the_bytes_are_those_of_the_tokens(self, driver: Driver) -> None:
        """`Piece`: a token and the bytes that it stands for. Tokens that leave no text are not counted."""
        said = driver.alone(driver.lasting(24), most=24)
        written = [piece.token for piece in said.pieces if piece.data]
        assert all(0 <= token < driver.engine.vocabulary for token in said.tokens)
        assert driver.engine.detokenize(written).removeprefix(b" ") == said.data.removeprefix(b" ")

    def test_a_text_depends_on_its_prompt(self, driver: Driver) -> None:
        """Else nothing here could tell one sequence from another."""
        assert len(set(driver.texts(driver.starts, most=16))) > 1

    def test_a_greedy_text_is_the_same_each_time(self, driver: Driver) -> None:
        """At temperature 0 the likeliest token is taken, whatever the seed is."""
        prompt = driver.lasting(16)
        texts = [driver.alone(prompt, most=16, seed=seed).tokens for seed in (1, 1, 2**32 - 1)]
        assert texts[1:] == texts[:-1]

    def test_what_was_said_before_leaves_no_trace(self, driver: Driver) -> None:
        """A sequence's text is made of its own prompt, whoever had its place before."""
        expected = driver.texts(driver.starts, most=10)
        driver.alone(driver.reading(driver.engine.context // 2), most=4)
        driver.alone(driver.starts[0], most=10, **_DRAWN)
        assert driver.texts(reversed(driver.starts), most=10) == expected[::-1]

    def test_a_longer_prompt_that_begins_alike_is_another_text(self, driver: Driver) -> None:
        """A beginning that is reused must be one that both have."""
        whole = driver.reading(min(64, driver.engine.context // 2))
        lengths = [len(whole), len(whole) // 2, len(whole) - 1, len(whole)]
        texts = [driver.alone(whole[:length], most=8).tokens for length in lengths]
        driver.alone(driver.starts[1], most=8)
        assert [driver.alone(whole[:length], most=8).tokens for length in reversed(lengths)] == texts[::-1]

    def test_nothing_is_reused_for_another_owner(self, driver: Driver) -> None:
        """`Sequence.owner`: what was computed for one is never reused for another."""
        prompt = driver.reading(min(48, driver.engine.context // 2))
        saids = [driver.alone(prompt, most=4, owner=owner) for owner in ("one", "other")]
        assert [said.read.cached for said in saids if said.read is not None] == [0, 0]
        assert saids[0].tokens == saids[1].tokens

    def test_a_seed_gives_the_same_text_again(self, driver: Driver) -> None:
        """`Sequence.seed` is all the chance that there is."""
        prompt = driver.lasting(12)
        for seed in (0, 7):
            texts = [driver.alone(prompt, most=12, seed=seed, **_DRAWN).tokens for _ in range(2)]
            assert texts[0] == texts[1]

    def test_the_highest_seed_is_one_like_any_other(self, driver: Driver) -> None:
        """`Sequence.seed`: up to 2^32-1. The host has replaced -1 already: no number asks for chance."""
        prompt = driver.lasting(12)
        texts = [driver.alone(prompt, most=12, seed=2**32 - 1, **_DRAWN).tokens for _ in range(2)]
        assert texts[0] == texts[1]

    def test_seeds_give_different_texts(self, driver: Driver) -> None:
        """At temperature 1 tokens are drawn."""
        prompt = driver.lasting(12)
        texts = {tuple(driver.alone(prompt, most=12, seed=seed, **_DRAWN).tokens) for seed in range(1, 7)}
        assert len(texts) > 1
