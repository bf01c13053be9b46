"""What only models promise that take conversations themselves."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from remuda.backend import LoadedModel
from remuda.converse import ConverseEvent, Converses
from remuda.errors import BadRequest
from remuda.job import Message, ToolCalls
from remuda.model import ModelEntry
from remuda.output import Text, ToolCall
from remuda.wire import Tool
from remuda.wire.chat import ToolFunction
from remuda.wire.options import Options

from .conversations import answered, conversation
from .fixtures import BackendFixtures

__all__ = ["ConverseTests"]

_TOOLS: Final = (Tool(function=ToolFunction(name="clock", description="tells the time")),)
_PIXEL: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002000148af"
    "a4710000000049454e44ae426082"
)
"""An image of one pixel, as PNG."""


class ConverseTests(BackendFixtures):
    """Left out for a model that continues prompts."""

    @pytest.fixture
    def talker(self, loaded: LoadedModel, entry: ModelEntry) -> Converses:
        if not isinstance(loaded, Converses):
            pytest.skip("this model takes no conversations")
        if entry.capabilities and "completion" not in entry.capabilities:
            pytest.skip("this model is not said to write anything")
        return loaded

    async def test_a_conversation_is_answered(self, talker: Converses, entry: ModelEntry) -> None:
        """All roles and several turns, and one `Done` last."""
        said = (Message("system", "be brief"), Message("user", "hi"), Message("assistant", "hello"))
        events = await self._asked(talker, entry, *said, Message("user", self.prompt))
        assert any(isinstance(event, Text) and event.text for event in events)
        assert not any(isinstance(event, ToolCalls) for event in events), "a tool is called that nobody offered"

    async def test_nothing_is_waited_for_on_the_event_loop(
        self, talker: Converses, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All requests wait as long as it does. What can be seen of it is found: `time.sleep`, and sockets that block.

        Somebody's Python API, which is likely to do the latter, is called in a thread: `asyncio.to_thread`.
        """
        blocked: list[str] = []
        _watch(monkeypatch, time, "sleep", blocked)
        for name in ("connect", "recv", "recv_into", "sendall"):
            _watch(monkeypatch, socket.socket, name, blocked)
        await self._asked(talker, entry, Message("user", self.prompt))
        assert not blocked, "it blocks the event loop: put that into a thread"

    async def test_an_answer_may_be_the_last_that_was_said(self, talker: Converses, entry: ModelEntry) -> None:
        """Clients have a model go on with its own words. It may refuse that."""
        events, refusal = await self._tried(talker, entry, Message("user", "hi"), Message("assistant", "hel"))
        assert events or refusal

    async def test_a_format_is_kept_or_refused(self, talker: Converses, entry: ModelEntry) -> None:
        """`Job.format`: with a `BadRequest` that names the field, not in silence."""
        events, refusal = await self._tried(talker, entry, Message("user", self.prompt), format={"type": "object"})
        text = "".join(event.text for event in events if isinstance(event, Text))
        assert "format" in refusal if refusal else isinstance(json.loads(text), dict)

    async def test_tools_can_be_offered_and_their_replies_told(self, talker: Converses, entry: ModelEntry) -> None:
        """With the capability "tools"."""
        self._need(entry, "tools")
        await self._asked(talker, entry, Message("user", "what time is it?"), tools=_TOOLS)
        call = Message("assistant", "", tool_calls=(ToolCall(name="clock", arguments={}, id="call_1"),))
        reply = Message("tool", "noon", tool_name="clock", tool_call_id="call_1")
        await self._asked(talker, entry, Message("user", "what time is it?"), call, reply, tools=_TOOLS)

    async def test_a_demanded_call_comes_or_is_refused(self, talker: Converses, entry: ModelEntry) -> None:
        """`Job.tool_choice`: as a format."""
        self._need(entry, "tools")
        wishes: dict[str, Any] = {"tools": _TOOLS, "tool_choice": "clock"}
        events, refusal = await self._tried(talker, entry, Message("user", "what time is it?"), **wishes)
        calls = [call.name for event in events if isinstance(event, ToolCalls) for call in event.calls]
        assert "tool_choice" in refusal if refusal else "clock" in calls

    async def test_an_image_can_be_shown(self, talker: Converses, entry: ModelEntry) -> None:
        """With the capability "vision"."""
        self._need(entry, "vision")
        await self._asked(talker, entry, Message("user", "what is this?", images=(_PIXEL,)))

    async def _asked(
        self, talker: Converses, entry: ModelEntry, *messages: Message, **fields: Any
    ) -> list[ConverseEvent]:
        options = Options(temperature=0.0, num_predict=64)
        return await answered(talker, conversation(entry, *messages, options=options, **fields))

    async def _tried(
        self, talker: Converses, entry: ModelEntry, *messages: Message, **fields: Any
    ) -> tuple[list[ConverseEvent], str]:
        """The events, or none and the refusal."""
        try:
            return await self._asked(talker, entry, *messages, **fields), ""
        except BadRequest as refused:
            return [], str(refused)

    def _need(self, entry: ModelEntry, capability: str) -> None:
        if capability not in entry.capabilities:
            pytest.skip(f'this model is not said to have the capability "{capability}"')


def _watch(patch: pytest.MonkeyPatch, owner: Any, name: str, blocked: list[str]) -> None:
    """Note in `blocked` each call of `owner.name` that is made where an event loop runs, and waits."""
    function: Callable[..., Any] = getattr(owner, name)

    def call(*args: Any) -> Any:
        if _on_a_loop() and not (isinstance(args[0], socket.socket) and args[0].gettimeout() == 0):
            blocked.append(f"{owner.__name__}.{name}")
        return function(*args)

    patch.setattr(owner, name, call)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
