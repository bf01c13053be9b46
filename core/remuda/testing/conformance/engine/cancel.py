"""Leaving early: what it frees, and that nothing is heard of it."""

from __future__ import annotations

import threading
from typing import Final

from .driver import Driver, Said
from .fixtures import NARROW, EngineFixtures, Load, needs_batching

__all__ = ["CancelTests"]

_UNKNOWN: Final = 2**40
"""An id that no sequence has."""


class CancelTests(EngineFixtures):
    def test_cancel_before_the_first_step(self, driver: Driver) -> None:
        """`cancel`: the sequence is forgotten and no event follows."""
        expected = driver.alone(driver.starts[0]).data
        driver.cancel(driver.submit(driver.starts[1]))
        self._all_is_well(driver, expected)

    def test_cancel_while_the_prompt_is_read(self, load: Load) -> None:
        """As above, with most of the context to be read."""
        driver = load(num_batch=NARROW)
        expected = driver.alone(driver.starts[0]).data
        for steps in (1, 2, 5):
            said = driver.submit(driver.reading(driver.engine.context * 3 // 4))
            for _ in range(steps):
                driver.step()
            driver.cancel(said)
        self._all_is_well(driver, expected)

    def test_cancel_while_writing(self, driver: Driver) -> None:
        """As above, after a few tokens."""
        expected = driver.alone(driver.starts[0]).data
        for tokens in (1, 2, 5):
            said = driver.submit(driver.starts[1], most=40)
            driver.until(said, tokens)
            driver.cancel(said)
        self._all_is_well(driver, expected)

    def test_cancel_of_an_unknown_id_is_ignored(self, driver: Driver) -> None:
        """`cancel`: unknown ids are ignored, those of sequences that have ended among them."""
        expected = driver.alone(driver.starts[0])
        said = driver.submit(driver.starts[0])
        for id in (_UNKNOWN, expected.id):
            driver.engine.interrupt(id)
            driver.engine.cancel(id)
        driver.step()
        driver.engine.cancel(_UNKNOWN)
        driver.run(said)
        assert said.data == expected.data

    def test_cancel_twice_is_cancel_once(self, driver: Driver) -> None:
        """The id is unknown the second time."""
        expected = driver.alone(driver.starts[0]).data
        said = driver.submit(driver.starts[1])
        driver.step()
        driver.cancel(said)
        driver.cancel(said)
        self._all_is_well(driver, expected)

    def test_a_sequence_without_a_constraint_lacks_nothing(self, driver: Driver) -> None:
        """`complete`: empty without a constraint; `cancel` follows."""
        said = driver.submit(driver.starts[0])
        driver.step()
        assert driver.engine.complete(said.id) == b""
        driver.cancel(said)

    def test_interrupt_from_another_thread_during_a_step(self, load: Load) -> None:
        """`interrupt`: called from another thread, maybe during `step`; `cancel` follows when the step is over."""
        driver = load(parallel=1)
        expected = driver.alone(driver.starts[0]).data
        for ready in range(3):
            said = driver.submit(driver.reading(driver.engine.context * 3 // 4))
            for _ in range(ready):
                driver.step()
            _step_interrupted(driver, said)
            driver.cancel(said)
        self._all_is_well(driver, expected)

    @needs_batching
    def test_an_interrupt_is_nobody_elses(self, driver: Driver) -> None:
        """The others' texts are what they would have been."""
        prompt = driver.lasting(16)
        expected = driver.alone(prompt, most=16).data
        running = driver.submit(prompt, most=16)
        driver.until(running, 2)
        said = driver.submit(driver.reading(driver.engine.context * 3 // 4))
        _step_interrupted(driver, said)
        driver.cancel(said)
        driver.run(running)
        assert running.data == expected

    def _all_is_well(self, driver: Driver, expected: bytes) -> None:
        """Every place is free again, and the first prompt has the text that it had."""
        saids = [driver.submit(driver.starts[0]) for _ in range(driver.places)]
        driver.run(*saids)
        assert [said.data for said in saids] == [expected] * len(saids)


def _step_interrupted(driver: Driver, said: Said) -> None:
    starts = threading.Barrier(2)

    def interrupt() -> None:
        starts.wait()
        driver.engine.interrupt(said.id)

    other = threading.Thread(target=interrupt)
    other.start()
    starts.wait()
    driver.step()
    other.join()
