"""A model that answers: its response read as it comes, and told apart."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from anyio.lowlevel import checkpoint

from remuda.backend import Done, LoadWish
from remuda.converse import ConverseEvent, Converses
from remuda.errors import EngineError
from remuda.job import Job, ToolCalls
from remuda.model import ModelEntry
from remuda.output import Text, Thinking, ToolCall

from .library import Parts
from .loaded import Loaded
from .threads import threaded
from .trouble import translated

__all__ = ["Chat"]


class Chat(Loaded, Converses):
    def __init__(self, parts: Parts, entry: ModelEntry, wish: LoadWish) -> None:
        super().__init__(parts, entry, wish)
        assert parts.chat is not None
        # What blocks and needs no key is likely to compute in this process, and few of those can do two things at once.
        alone = not _is_async(parts.chat) and not parts.chat.needs_key
        self._turn = threading.Lock() if alone else None
        self.parallel = 1 if alone else None

    async def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        from .asking import response_to

        model = self._open().chat
        with self._counted(), translated(self.name):
            response = response_to(job, model)
            events = response.astream_events() if _is_async(model) else threaded(response.stream_events, self._turn)
            async with aclosing(events):
                async for event in events:
                    # Some asynchronous models never wait for anything: others must get their turn, too.
                    await checkpoint()
                    self._open()
                    self._steps += 1
                    if event.chunk and event.type == "text":
                        yield Text(event.chunk)
                    elif event.chunk and event.type == "reasoning":
                        yield Thinking(event.chunk)
            calls, usage = response.tool_calls(), response.usage()
            if _is_async(model):
                calls, usage = await calls, await usage
            if calls:
                yield ToolCalls([_call(call, self.name) for call in calls])
            yield _done(job, usage)


def _is_async(model: Any) -> bool:
    import llm

    return isinstance(model, (llm.AsyncModel, llm.AsyncKeyModel))


def _call(call: Any, name: str) -> ToolCall:
    """`llm` passes on what the model wrote. Raises `EngineError` for what no client could read."""
    if not isinstance(call.arguments, dict):
        raise EngineError(f"model '{name}' called the tool '{call.name}' with arguments that are no JSON object")
    arguments = cast(dict[str, Any], call.arguments)
    return ToolCall(name=call.name, arguments=arguments, id=call.tool_call_id or "")


def _done(job: Job, usage: Any) -> Done:
    """`llm` does not tell why an answer ended: one that is as long as was allowed has come to that end."""
    written, most = _count(usage.output), job.options.num_predict
    reason = "length" if 0 < most <= written else "stop"
    return Done(reason=reason, prompt_tokens=_count(usage.input), output_tokens=written)


def _count(told: Any) -> int:
    """Tokens; 0 for what is no number of them."""
    return told if isinstance(told, int) and told > 0 else 0
