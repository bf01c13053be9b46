"""Where a text ends, and where it does not."""

from __future__ import annotations

from .driver import Driver
from .fixtures import NARROW, EngineFixtures, Load

__all__ = ["LimitTests"]


class LimitTests(EngineFixtures):
    def test_without_shift_the_limit_ends_it(self, driver: Driver) -> None:
        """`Sequence.limit`: tokens of prompt and output together; then `Ended` says "length"."""
        prompt = driver.lasting(9)
        for room in (1, 2, 9):
            said = driver.alone(prompt, limit=len(prompt) + room, shift=False)
            assert (said.ended.reason, len(said.tokens)) == ("length", room)

    def test_the_whole_context_can_be_used(self, driver: Driver) -> None:
        """`Engine.context`: how many tokens one sequence may hold; the prompt may have all of them but one."""
        context = driver.engine.context
        said = driver.alone(driver.reading(context - 1), limit=context, shift=False)
        assert len(said.tokens) <= 1
        assert said.ended.reason == ("length" if said.tokens else "stop")

    def test_with_shift_it_goes_on_past_the_limit(self, driver: Driver) -> None:
        """`Sequence.shift`: at the limit the older half is forgotten. Such a text never ends with "length"."""
        past = 0
        for number, prompt in enumerate(driver.starts):
            limit, keep = len(prompt) + 8, (0, 4, len(prompt))[number % 3]
            said = driver.submit(prompt, limit=limit, shift=True, keep=keep)
            driver.until(said, 32)
            assert said.end is None or said.ended.reason == "stop"
            past = max(past, len(prompt) + len(said.tokens) - limit)
            driver.cancel(said)
        assert past > 8, "no text went on for long enough to see it"

    def test_it_goes_on_in_a_full_context(self, load: Load) -> None:
        """As above, where the limit is all that the engine has."""
        driver = load(context=min(64, self.context), parallel=1)
        context = driver.engine.context
        said = driver.submit(driver.reading(context - 4), limit=context, shift=True, keep=4)
        driver.until(said, context)
        assert len(said.tokens) >= context or said.ended.reason == "stop"

    def test_the_end_comes_with_the_last_piece_or_after_it(self, driver: Driver) -> None:
        """After a bounded number of steps a live sequence has ended or told a piece; the host asks for no more."""
        prompt = driver.lasting(6)
        said = driver.submit(prompt, limit=len(prompt) + 6, shift=False)
        driver.until(said, 6)
        steps = 0
        while said.end is None:
            driver.step()
            steps += 1
        assert steps <= 1

    def test_a_step_reads_no_more_than_a_batch(self, load: Load) -> None:
        """`step` is short: at most one micro-batch of prompt, which `num_batch` bounds."""
        driver = load(num_batch=NARROW)
        prompt = driver.reading(min(12 * NARROW, driver.engine.context - 4))
        said = driver.submit(prompt, most=1)
        steps = 0
        while said.read is None and said.end is None:
            driver.step()
            steps += 1
        assert steps >= len(prompt) // (2 * NARROW), "so many tokens of a prompt hold up whoever is writing"
