"""Keeps words and patterns out of questions and answers: by default, addresses of e-mail.

    [plugins.settings.redact]
    words = ["Project Heron", "Lena"]
    patterns = ['\\b\\d{3}-\\d{4}\\b']
    replacement = "[redacted]"

What a model writes comes in pieces, and a piece may end in the middle of a match. So the last words of an answer are
held back until it is known what follows them: as many as the longest of `words` has, or `span` if that is more. Calls
of tools are redacted as well. Log probabilities and the tokens in `context` would tell what was replaced, and are left
out. Texts that are only embedded pass: no filter stands round them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Final, cast

from msgspec import Meta, Struct, structs

from remuda import Event, Finished, Job, Message, Text, Thinking, ToolCalls, hookimpl
from remuda.hookspecs import ReadSettings, RegisterFactory

EMAIL: Final = r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"
"""Tried only where a word begins, and bounded: a long text without an address costs no more than its length."""
_WORD: Final = re.compile(r"\S+")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: tuple[str, ...] = ()
    """Replaced where they stand as whole words, without regard to case."""
    patterns: tuple[str, ...] = (EMAIL,)
    """Regular expressions, as Python's `re` takes them."""
    span: Annotated[int, Meta(ge=1)] = 1
    """How many words a match of one of `patterns` may have and still be found where it comes in pieces."""
    longest: Annotated[int, Meta(ge=1)] = 200
    """Characters that are held back at most, where text has no spaces between its words."""
    replacement: str = "[redacted]"

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} in patterns is no regular expression: {error}") from None


class Rules:
    """What is replaced."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._span = max([settings.span, *(len(word.split()) for word in settings.words)])
        # Words last: one of them replaced in an address would leave the rest of it to be read.
        self._found = [re.compile(pattern) for pattern in settings.patterns]
        self._found += [re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE) for word in settings.words]

    def clean(self, text: str) -> str:
        for pattern in self._found:
            text = pattern.sub(lambda _: self._settings.replacement, text)
        return text

    def cleaned(self, value: Any) -> Any:
        """A JSON value with every text in it clean."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self.cleaned(each) for each in cast(list[Any], value)]
        if isinstance(value, dict):
            return {name: self.cleaned(each) for name, each in cast(dict[str, Any], value).items()}
        return value

    def safe(self, text: str) -> int:
        """How much of the beginning of an answer that goes on can be shown: no match may reach beyond it."""
        starts = [word.start() for word in _WORD.finditer(text)]
        end = max(starts[-self._span] if len(starts) >= self._span else 0, len(text) - self._settings.longest)
        across = (match for pattern in self._found for match in pattern.finditer(text))
        return min([end, *(match.start() for match in across if match.start() < end < match.end())])


class Pieces:
    """One answer on its way to the client."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._kind: type[Text | Thinking] = Text
        self._held = ""

    def feed(self, event: Event) -> Iterator[Event]:
        if not isinstance(event, (Text, Thinking)):
            yield from self._rest()
            yield self._clean(event)
            return
        if type(event) is not self._kind:
            yield from self._rest()
            self._kind = type(event)
        text = self._held + event.text
        end = self._rules.safe(text)
        self._held = text[end:]
        if end:
            yield self._kind(self._rules.clean(text[:end]))

    def _rest(self) -> Iterator[Event]:
        held, self._held = self._held, ""
        if held:
            yield self._kind(self._rules.clean(held))

    def _clean(self, event: Event) -> Event:
        if isinstance(event, Finished):
            return structs.replace(event, done=structs.replace(event.done, context=None))
        if isinstance(event, ToolCalls):
            calls = [structs.replace(call, arguments=self._rules.cleaned(call.arguments)) for call in event.calls]
            return ToolCalls(calls)
        return event


class Redact:
    """The filter; a `remuda.Filter`."""

    rules = Rules(Settings())

    async def wrap(
        self, job: Job, proceed: Callable[[Job], AsyncGenerator[Event, None]]
    ) -> AsyncGenerator[Event, None]:
        pieces = Pieces(self.rules)
        async with aclosing(proceed(self._asked(job))) as events:
            async for event in events:
                for clean in pieces.feed(event):
                    yield clean

    def _asked(self, job: Job) -> Job:
        clean = self.rules.clean
        return structs.replace(
            job,
            messages=[self._message(message) for message in job.messages],
            prompt=None if job.prompt is None else clean(job.prompt),
            suffix=clean(job.suffix),
            logprobs=None,
        )

    def _message(self, message: Message) -> Message:
        calls = tuple(
            structs.replace(call, arguments=self.rules.cleaned(call.arguments)) for call in message.tool_calls
        )
        content, thinking = self.rules.clean(message.content), self.rules.clean(message.thinking)
        return structs.replace(message, content=content, thinking=thinking, tool_calls=calls)


@hookimpl
def remuda_configure(settings: ReadSettings) -> None:
    Redact.rules = Rules(settings(Settings))


@hookimpl
def remuda_register_filters(register: RegisterFactory) -> None:
    register("redact", Redact)
