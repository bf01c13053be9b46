"""Several sequences at once: each says what it says alone, and none waits for another's end."""

from __future__ import annotations

from .driver import Driver
from .fixtures import NARROW, EngineFixtures, Load, needs_batching

__all__ = ["CompanyTests"]


class CompanyTests(EngineFixtures):
    """Left out for an engine with one place. One that takes turns among several passes as well as one that batches."""

    @needs_batching
    def test_texts_together_are_the_texts_alone(self, driver: Driver) -> None:
        """Greedy texts, with as many places taken as there are."""
        prompts = driver.starts[: driver.places]
        expected = driver.texts(prompts, most=16)
        saids = [driver.submit(prompt, most=16) for prompt in prompts]
        driver.run(*saids)
        assert [said.data for said in saids] == expected

    @needs_batching
    def test_drawn_texts_together_are_the_texts_alone(self, driver: Driver) -> None:
        """`Sequence.seed`: a sequence's chance is its own."""
        prompt, seeds = driver.lasting(8), range(driver.places)
        expected = [driver.alone(prompt, most=8, temperature=1.0, seed=seed).data for seed in seeds]
        saids = [driver.submit(prompt, most=8, temperature=1.0, seed=seed) for seed in seeds]
        driver.run(*saids)
        assert [said.data for said in saids] == expected

    @needs_batching
    def test_one_that_comes_and_goes_disturbs_nobody(self, driver: Driver) -> None:
        """A place that becomes free in the middle is taken by another, and again."""
        prompt = driver.lasting(16)
        expected = driver.alone(prompt, most=16).data
        running = driver.submit(prompt, most=16)
        for start in driver.starts:
            gone = driver.submit(start, most=16)
            driver.step()
            driver.step()
            driver.cancel(gone)
        driver.run(running)
        assert running.data == expected

    @needs_batching
    def test_limits_are_each_ones_own(self, driver: Driver) -> None:
        """`Sequence.limit` and `shift`: who ends first ends nobody else."""
        prompt = driver.lasting(16)
        long = driver.submit(prompt, most=16)
        short = driver.submit(prompt, most=3)
        driver.run(short)
        assert long.end is None
        driver.run(long)
        assert (len(long.tokens), len(short.tokens)) == (16, 3)
        assert long.data.startswith(short.data)

    @needs_batching
    def test_a_short_one_ends_beside_a_long_prompt(self, load: Load) -> None:
        """Every live sequence makes progress: a long prompt is not read to its end first, or is so in little time."""
        driver = load(num_batch=NARROW)
        prompt = driver.reading(driver.engine.context * 3 // 4)
        long, short = driver.submit(prompt, most=2), driver.submit(driver.starts[0], most=4)
        steps = 0
        while short.end is None:
            driver.step()
            steps += 1
        assert steps <= 16 + 4 * (len(prompt) + len(short.prompt)) // NARROW
        driver.run(long)

    @needs_batching
    def test_a_stream_goes_on_while_a_prompt_is_read(self, load: Load) -> None:
        """Few steps lie between two of its pieces, however long the prompt is."""
        driver = load(num_batch=NARROW)
        prompt = driver.lasting(20)
        running = driver.submit(prompt, most=driver.engine.context)
        driver.until(running, 1)
        long, longest = driver.submit(driver.reading(driver.engine.context * 3 // 4), most=1), 0
        while long.read is None and running.end is None:
            driver.step()
            longest = max(longest, running.waited)
        assert longest <= 4 * driver.places
        driver.run(long)
