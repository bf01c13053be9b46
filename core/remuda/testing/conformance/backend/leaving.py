"""Clients that leave, and many that come at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from remuda.backend import Generates

from .fixtures import BackendFixtures, at_rest, read

__all__ = ["LeavingTests"]

_MANY = 8


class LeavingTests(BackendFixtures):
    """Closing the generator stops the work behind it within one decode step."""

    async def test_closing_while_it_writes_stops_the_work(self, model: Generates) -> None:
        """And the next request is served as ever."""
        expected = (await read(model, self.job())).text
        async with aclosing(model.generate(self.job(most=-1))) as events:
            await anext(events)
        await at_rest(model)
        assert (await read(model, self.job())).text == expected

    async def test_closing_while_the_prompt_is_read_stops_the_work(self, model: Generates) -> None:
        """Within one micro-batch, then."""
        expected = (await read(model, self.job())).text
        for turns in (0, 1, 20):
            events = model.generate(self.job(self.long_prompt(), most=-1))
            first = asyncio.ensure_future(anext(events))
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            await events.aclose()
            await at_rest(model)
        assert (await read(model, self.job())).text == expected

    async def test_a_generator_that_was_never_begun_costs_nothing(self, model: Generates) -> None:
        """It can be closed, too."""
        await model.generate(self.job(most=-1)).aclose()
        await at_rest(model)

    async def test_cancelling_the_task_stops_the_work(self, model: Generates) -> None:
        """Whoever reads may be cancelled at any time."""
        expected = (await read(model, self.job())).text
        begun = asyncio.Event()

        async def follow() -> None:
            async with aclosing(model.generate(self.job(most=-1))) as events:
                async for _ in events:
                    begun.set()

        task = asyncio.create_task(follow())
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await at_rest(model)
        assert (await read(model, self.job())).text == expected

    async def test_many_at_once_are_all_served(self, model: Generates) -> None:
        """More than there are places: the rest wait, inside or outside. Each says what it says alone."""
        jobs = [self.job(f"{self.prompt} {number}", most=6) for number in range(_MANY)]
        expected = [(await read(model, job)).text for job in jobs]
        replies = await asyncio.gather(*(read(model, job) for job in jobs))
        assert [reply.text for reply in replies] == expected

    async def test_one_that_leaves_takes_nobody_along(self, model: Generates) -> None:
        """Of many, every second one is cancelled."""
        expected = (await read(model, self.job())).text
        tasks = [asyncio.create_task(read(model, self.job())) for _ in range(_MANY)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(reply, "text", None) for reply in replies[1::2]] == [expected] * (_MANY // 2)
        assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])
        await at_rest(model)

    async def test_a_slow_reader_gets_all_of_it(self, model: Generates) -> None:
        """What nobody reads yet is kept."""
        expected = (await read(model, self.job(most=20))).text
        async with aclosing(model.generate(self.job(most=20))) as events:
            texts = [getattr(await anext(events), "text", "")]
            assert (await read(model, self.job())).text
            texts += [getattr(event, "text", "") async for event in events]
        assert "".join(texts) == expected
