"""Several sequences at once: each says what it says alone, and none waits for another's end."""

from __future__ import annotations

from remuda.engine import Failed

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
        """Few steps lie between two of its pieces, however long the prompt is, and however many there are."""
        driver = load(num_batch=NARROW)
        prompt = driver.lasting(20)
        running = driver.submit(prompt, most=driver.engine.context)
        driver.until(running, 1)
        reading, longest = driver.reading(driver.engine.context * 3 // 4), 0
        long = [driver.submit(reading, most=1) for _ in range(driver.places - 1)]
        while any(said.read is None for said in long) and running.end is None:
            driver.step()
            longest = max(longest, running.waited)
        assert longest <= 4 * driver.places
        driver.run(*long)

    @needs_batching
    def test_prompts_together_take_as_many_steps_as_one_by_one(self, load: Load) -> None:
        """`step` is short: at most one micro-batch of prompt, however many are to be read. All are, in the end."""
        driver = load(num_batch=NARROW)
        alone, together = _steps_to_read(driver, 1), _steps_to_read(driver, driver.places)
        assert together > driver.places * (alone - 1), "a step reads for several, and holds up whoever is writing"

    @needs_batching
    def test_one_that_leaves_is_read_no_further(self, load: Load) -> None:
        """`cancel`, while several prompts are read: the steps that the rest of this one would take are saved."""
        driver = load(num_batch=NARROW)
        alone, together = _steps_to_read(driver, 1), _steps_to_read(driver, driver.places)
        assert together - _steps_to_read(driver, driver.places, leaves=True) >= (alone - 1) // 2


def _steps_to_read(driver: Driver, count: int, *, leaves: bool = False) -> int:
    """How many steps it takes until as many long prompts are read; the first of which `leaves` after the first step."""
    prompt = driver.reading(driver.engine.context // 2)
    # Each has an owner of its own, so that all of it is computed.
    saids = [driver.submit(prompt, most=1, owner=f"{count}-{leaves}-{number}") for number in range(count)]
    steps = 0
    while any(said.read is None for said in saids):
        driver.step()
        steps += 1
        if leaves and steps == 1:
            driver.cancel(saids.pop(0))
        assert not any(isinstance(said.end, Failed) for said in saids)
    driver.run()
    return steps
