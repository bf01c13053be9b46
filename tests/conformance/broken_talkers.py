"""Models that take conversations and break one promise each, and by which tests of the suite that must be found.

Not collected by itself: `test_broken.py` runs it, and counts what fails.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncGenerator
from typing import ClassVar

import pytest
from msgspec import structs
from parrot import PARROT, Parrot, ParrotBackend

from remuda import Done, Job, LoadWish, Text, ToolCall, ToolCalls
from remuda.converse import ConverseEvent
from remuda.model import ModelEntry
from remuda.testing import BackendConformance
from remuda.testing.conformance.backend.fixtures import BackendFixtures

from .breaking import Caught, suites

CAUGHT: Caught[Parrot] = Caught()
caught_by = CAUGHT.by


@caught_by("test_a_conversation_is_answered", "test_texts_come_and_one_done_last")
class SaysNotThatItIsDone(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        async for event in super().converse(job):
            if not isinstance(event, Done):
                yield event


@caught_by("test_a_conversation_is_answered", "test_texts_come_and_one_done_last")
class CallsWhatNobodyOffered(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        yield ToolCalls([ToolCall(name="clock", arguments={})])
        async for event in super().converse(job):
            yield event


@caught_by("test_a_format_is_kept_or_refused")
class PassesOverTheFormat(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        async for event in super().converse(structs.replace(job, format=None)):
            yield event


@caught_by("test_a_demanded_call_comes_or_is_refused")
class PassesOverTheDemand(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        async for event in super().converse(structs.replace(job, tool_choice=None)):
            yield event


@caught_by("test_tools_can_be_offered_and_their_replies_told")
class KnowsNoReplies(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        assert all(message.role != "tool" for message in job.messages)
        async for event in super().converse(job):
            yield event


@caught_by("test_close_ends_what_is_written")
class TalksOnWhenClosed(Parrot):
    async def close(self) -> None:
        pass


@caught_by("test_characters_leave_whole[0]")
class SplitsCharacters(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        async for event in super().converse(job):
            yield Text("\ud83e") if isinstance(event, Text) else event


@caught_by("test_nothing_is_waited_for_on_the_event_loop")
class Sleeps(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        time.sleep(0.001)  # noqa: ASYNC251
        async for event in super().converse(job):
            yield event


@caught_by("test_nothing_is_waited_for_on_the_event_loop")
class Asks(Parrot):
    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        asking, asked = socket.socketpair()
        with asking, asked:
            asked.sendall(b"x")
            asking.recv(1)
        async for event in super().converse(job):
            yield event


class BrokenTalkerTests(BackendFixtures):
    broken: ClassVar[type[Parrot]]

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> ParrotBackend:
        class BrokenBackend(ParrotBackend):
            async def load(self, model: ModelEntry, wish: LoadWish) -> Parrot:
                return cls.broken(wish)

        return BrokenBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls) -> ModelEntry:
        return PARROT


globals().update(suites(CAUGHT, BackendConformance, BrokenTalkerTests, "broken"))
