"""A format that a server cannot be held to: it is asked for in words, and the answer is checked and asked for again."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from remuda.backend import Done
from remuda.errors import BadRequest
from remuda.job import Event, Finished, Job, Message, ToolCalls
from remuda.output import Text, Thinking, TokenLogprob
from remuda.runner.worker import Worker, WorkerEnded, WorkerLate

from .checker import Check, Checked

__all__ = ["NOTHING", "Attempt", "Checker", "again", "asked_in_words", "unfenced"]

NOTHING: Final = Finished(Done(reason="stop"), 0, 0)
"""Of no effort at all."""

_SECONDS: Final = 1.0
"""That checking one answer may take."""
_AT_ONCE: Final = 2
"""Checkers side by side."""


class Attempt(Struct):
    """A whole answer."""

    text: str = ""
    thinking: str = ""
    logprobs: list[TokenLogprob] = msgspec.field(default_factory=list[TokenLogprob])
    calls: list[ToolCalls] = msgspec.field(default_factory=list[ToolCalls])
    finished: Finished = NOTHING
    """Of this effort and those before it."""

    def take(self, event: Event) -> None:
        match event:
            case Text():
                self.text += event.text
                self.logprobs += event.logprobs
            case Thinking():
                self.thinking += event.text
            case ToolCalls():
                self.calls.append(event)
            case Finished():
                self.finished = _sum(self.finished, event)
            case _:
                pass

    def events(self) -> list[Event]:
        return [
            *([Thinking(self.thinking)] if self.thinking else []),
            *([Text(self.text, self.logprobs)] if self.text or self.logprobs else []),
            *self.calls,
            self.finished,
        ]


class Checker:
    """Checks in a child process: a schema may hold a regular expression that takes for ever."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fault(self, format: Any, text: str) -> str:
        """What does not match; empty if all does. Raises `BadRequest` for a schema that is none."""
        check = Check(msgspec.json.encode({"type": "object"} if format == "json" else format).decode(), text)
        async with self._places:
            worker = Worker("remuda_remote.openai.checker", Check("", ""), Checked)
            try:
                checked = await worker.ask(check, timeout=_SECONDS)
            except (WorkerLate, WorkerEnded):
                raise BadRequest("invalid format: it is too complex for an answer to be checked against it") from None
            finally:
                await worker.close()
        if checked.bad_schema:
            raise BadRequest(f"invalid format: {checked.bad_schema}")
        return checked.fault


def asked_in_words(job: Job, *, keep: bool) -> Job:
    """The job with its format in words, at the end of the system message if it has one. `keep`: as a format, too."""
    if job.format == "json":
        words = "Answer with one JSON object and nothing else: no explanation, no Markdown."
    else:
        schema = msgspec.json.encode(job.format).decode()
        words = (
            "Answer with one JSON value and nothing else: no explanation, no Markdown. "
            f"It must match this JSON Schema:\n{schema}"
        )
    messages = list(job.messages)
    if messages and messages[0].role == "system":
        first = messages[0]
        messages[0] = structs.replace(first, content=f"{first.content}\n\n{words}" if first.content else words)
    else:
        messages.insert(0, Message("system", words))
    return structs.replace(job, messages=messages, format=job.format if keep else None)


def again(job: Job, answer: str, fault: str) -> Job:
    """The job with an answer that did not match, and what was wrong with it."""
    words = f"That does not match: {fault}. Answer again, with the corrected JSON and nothing else."
    return structs.replace(job, messages=[*job.messages, Message("assistant", answer), Message("user", words)])


def unfenced(text: str) -> str:
    """What is inside of a Markdown fence, if that is all there is."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") + 1 : -3].strip()
    return text


def _sum(one: Finished, other: Finished) -> Finished:
    """Both efforts together, ended as the other one."""
    a, b = one.done, other.done
    done = structs.replace(
        b,
        prompt_tokens=a.prompt_tokens + b.prompt_tokens,
        cached_tokens=a.cached_tokens + b.cached_tokens,
        prompt_ns=a.prompt_ns + b.prompt_ns,
        output_tokens=a.output_tokens + b.output_tokens,
        output_ns=a.output_ns + b.output_ns,
    )
    return Finished(done, one.total_ns + other.total_ns, one.load_ns + other.load_ns)
