"""From what streams back to the events of a job: text, thinking, calls of tools put together, and how it ended."""

from __future__ import annotations

import time
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from remuda.backend import Done
from remuda.errors import EngineError
from remuda.job import Event, Finished, Job, ToolCalls
from remuda.output import Text, Thinking, TokenLogprob, ToolCall

from ..faults import Broke, Refused
from .logprobs import token_logprobs
from .said import sentence_of, status_of
from .wire import Choice, Chunk, Delta, Timings, ToolCallDelta, Usage, as_whole

__all__ = ["Reader"]

_NS_PER_MS: Final = 1_000_000
_LENGTHS: Final = frozenset(("length", "max_tokens"))
_SHOWN: Final = 200


class _Call(Struct):
    """A call of which pieces have come."""

    index: int | None
    id: str
    name: str = ""
    arguments: str = ""


class Reader:
    """Reads one answer. Raises `Refused` and `Broke` for the server's faults, `EngineError` for the model's."""

    def __init__(self, job: Job, upstream: str, began: int) -> None:
        """`began`: when the request was sent, by `time.perf_counter_ns`."""
        self._job, self._upstream, self._began = job, upstream, began
        self._silent = job.given.get("num_predict") == 0
        self._first = self._last = 0
        self._pieces = 0
        self._calls: list[_Call] = []
        self._usage: Usage | None = None
        self._timings: Timings | None = None
        self.reason = ""
        """Why the answer ended, in the server's words; empty before that."""

    @property
    def started(self) -> bool:
        """Something of an answer has come."""
        return self._pieces > 0

    def take(self, payload: bytes) -> list[Event]:
        """The events that a chunk, or a whole reply, makes."""
        try:
            chunk = as_whole(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Broke(self._upstream, f"sent what makes no sense: {error}") from None
        if chunk.error:
            raise self._failed(chunk, payload)
        self._usage, self._timings = chunk.usage or self._usage, chunk.timings or self._timings
        events: list[Event] = []
        for choice in chunk.choices or ():
            if not choice.index:
                events += self._choice(choice)
                self.reason = choice.finish_reason or self.reason
        return events

    def finish(self) -> list[Event]:
        """The last events, once `reason` is there."""
        events: list[Event] = []
        if self._calls:
            events.append(ToolCalls([self._whole(call) for call in self._calls]))
        return [*events, self._finished()]

    def _choice(self, choice: Choice) -> list[Event]:
        said = choice.delta or choice.message or Delta(content=choice.text)
        text, thinking = _text(said.content) + (said.refusal or ""), said.thinking
        try:
            logprobs = (
                token_logprobs(choice.logprobs, self._job.logprobs or 0) if self._job.logprobs is not None else []
            )
        except msgspec.ValidationError as error:
            raise Broke(self._upstream, f"sent log probabilities that make no sense: {error}") from None
        if text or thinking or said.tool_calls or logprobs:
            self._last = time.perf_counter_ns()
            self._first = self._first or self._last
            self._pieces += 1
        for delta in said.tool_calls or ():
            self._call(delta)
        return [] if self._silent else _pieces(text, thinking, logprobs)

    def _call(self, delta: ToolCallDelta) -> None:
        call = self._known(delta)
        if call is None:
            call = _Call(index=delta.index, id=delta.id or "")
            self._calls.append(call)
        function = delta.function
        if function is not None:
            # Some servers repeat the name with every piece.
            call.name = call.name or function.name or ""
            written = function.arguments
            if written is not None:
                call.arguments += written if isinstance(written, str) else msgspec.json.encode(written).decode()

    def _known(self, delta: ToolCallDelta) -> _Call | None:
        """The call that a piece belongs to. An index may lack, or be 0 for all calls: then ids, or names, part them."""
        if not self._calls:
            return None
        if delta.index is not None:
            found = next((call for call in reversed(self._calls) if call.index == delta.index), None)
            return None if found and delta.id and found.id and delta.id != found.id else found
        if delta.id:
            return next((call for call in self._calls if call.id == delta.id), None)
        return None if delta.function and delta.function.name else self._calls[-1]

    def _whole(self, call: _Call) -> ToolCall:
        try:
            arguments: Any = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
        except (msgspec.MsgspecError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            cut = " (the answer was cut: raise num_predict)" if self.reason in _LENGTHS else ""
            raise EngineError(
                f"upstream '{self._upstream}': the model called the tool {call.name[:_SHOWN]!r} with arguments that "
                f"are no JSON object{cut}: {call.arguments[:_SHOWN]}"
            )
        return ToolCall(name=call.name, arguments=cast(dict[str, Any], arguments), id=call.id)

    def _finished(self) -> Finished:
        now = time.perf_counter_ns()
        first, last = self._first or now, self._last or now
        prompt_ns, output_ns = first - self._began, last - first
        usage, timings = self._usage or Usage(), self._timings
        details = usage.prompt_tokens_details
        prompt, output, cached = usage.prompt_tokens or 0, usage.completion_tokens, details and details.cached_tokens
        if timings is not None:
            prompt_ns, output_ns = int(timings.prompt_ms * _NS_PER_MS), int(timings.predicted_ms * _NS_PER_MS)
            prompt, cached = prompt or timings.prompt_n + timings.cache_n, cached or timings.cache_n
            output = timings.predicted_n if output is None else output
        done = Done(
            reason="length" if self.reason in _LENGTHS else "stop",
            prompt_tokens=prompt,
            cached_tokens=cached or 0,
            prompt_ns=prompt_ns,
            output_tokens=0 if self._silent else self._pieces if output is None else output,
            output_ns=output_ns,
        )
        return Finished(done, now - self._began, max(0, first - self._began - prompt_ns))

    def _failed(self, chunk: Chunk, payload: bytes) -> Refused | Broke:
        said = sentence_of(chunk.error)
        if self.started:
            return Broke(self._upstream, f"broke off: {said or 'it did not say why'}")
        return Refused(self._upstream, status_of(chunk.error), {}, payload, said)


def _text(content: Any) -> str:
    """Text, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [cast(dict[str, Any], part) for part in cast(list[Any], content) if isinstance(part, dict)]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _pieces(text: str, thinking: str, logprobs: list[TokenLogprob]) -> list[Event]:
    events: list[Event] = []
    if thinking:
        events.append(Thinking(thinking, [] if text else logprobs))
    if text or (logprobs and not thinking):
        events.append(Text(text, logprobs))
    return events
