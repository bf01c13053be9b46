"""What all parsers here are built on: a syntax is written as a coroutine over text that comes in pieces.

A parser writes `region`: pass text on until something of its own begins, read that, tell what it is. Each method
that reads is a generator that yields when it needs more text. What was read but not told yet is *held*. A region that
returns has understood what is held, which is dropped; one that raises `Malformed` has not, and what is held becomes
text. Either way reading goes on behind it, so no character is looked at twice and hostile text costs linear time.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Generator
from functools import lru_cache
from io import StringIO
from typing import Any, TypeAlias, TypeVar

from remuda.output import Output, OutputParser, Text, Thinking, ToolCall

from .calls import call_of
from .json_text import JsonScanner, Malformed, decode

__all__ = ["HELD_LIMIT", "NAME_LIMIT", "Steps", "StreamParser"]

HELD_LIMIT = 1 << 20
"""Characters held at most; a call that is longer becomes text."""
NAME_LIMIT = 256
"""Characters of a name at most."""

_T = TypeVar("_T")
Steps: TypeAlias = Generator[None, None, _T]
"""A piece of reading: yields when it needs more text, returns what it read."""

_NON_SPACE = re.compile(r"\S")
_NON_WORD = re.compile(r"""[\s\[\]{}()<>"'`,;=]""")


class StreamParser(OutputParser):
    """An `OutputParser` whose syntax is the generator `region`."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        """Where the unread part of `_text` begins. Only what may be the beginning of a tag stays unread for long."""
        self._ended = False
        self._held = StringIO()
        """In one buffer, because a list of single characters would take many times their memory."""
        self._size = 0
        self._outputs: list[Output] = []
        self._pieces: list[str] = []
        self._pieces_are: type[Text | Thinking] = Text
        self._steps = self._run()

    def feed(self, text: str) -> list[Output]:
        self._text = self._text[self._at :] + text
        self._at = 0
        next(self._steps, None)
        return self._told()

    def finish(self) -> list[Output]:
        self._ended = True
        for _ in self._steps:
            pass
        return self._told()

    @abstractmethod
    def region(self) -> Steps[None]:
        """Read text up to and with the next thing that belongs to the syntax.

        It must read something unless the answer is over. It is begun again for what follows.
        """

    def understand(self, value: dict[str, Any]) -> ToolCall:
        """The call that a JSON object stands for; raises `Malformed`."""
        return call_of(value)

    # Reading. Everything read is held, but for what `find` and `pass_space` pass on.

    def find(self, *tags: str, told_as: type[Text | Thinking] = Text) -> Steps[str]:
        """Pass text on until one of `tags`, which is held and returned; "" if the answer ends before."""
        while True:
            match = _any_of(tags).search(self._text, self._at) if tags else None
            if match:
                self._pass(match.start(), told_as)
                self._hold(match.end())
                return match[0]
            self._pass(len(self._text) - self._unsure(tags), told_as)
            if self._ended:
                return ""
            yield

    def pass_space(self) -> Steps[None]:
        """Pass white space on as text until something else comes."""
        while True:
            match = _NON_SPACE.search(self._text, self._at)
            self._pass(match.start() if match else len(self._text), Text)
            if match or self._ended:
                return
            yield

    def space(self) -> Steps[str]:
        """Read white space until something else comes."""
        start = self._size
        while True:
            match = _NON_SPACE.search(self._text, self._at, self._reach())
            self._hold(match.start() if match else len(self._text))
            if match or self._ended:
                return self._since(start)
            yield

    def peek(self) -> Steps[str]:
        """The next character, which stays unread; "" if there is none."""
        while self._at == len(self._text) and not self._ended:
            yield
        return self._text[self._at : self._at + 1]

    def take(self, *words: str) -> Steps[str]:
        """Read the longest of `words` that comes next; "" if none does."""
        while True:
            found = max((word for word in words if self._text.startswith(word, self._at)), key=len, default="")
            left = len(self._text) - self._at
            longer = [word for word in words if len(word) > max(left, len(found))]
            if self._ended or not any(word.startswith(self._text[self._at :]) for word in longer):
                self._hold(self._at + len(found))
                return found
            yield

    def word(self) -> Steps[str]:
        """Read a name: up to white space, a bracket, a quote, `<`, `,`, `;` or `=`. It may be empty."""
        start = self._size
        while True:
            match = _NON_WORD.search(self._text, self._at, self._reach(NAME_LIMIT))
            self._hold(match.start() if match else len(self._text), start + NAME_LIMIT)
            if match or self._ended:
                return self._since(start)
            yield

    def up_to(self, *stops: str, limit: int = HELD_LIMIT) -> Steps[str]:
        """Read up to the first of `stops`, which stays unread, or the end of the answer."""
        start = self._size
        longest = max(map(len, stops))
        while True:
            match = _any_of(stops).search(self._text, self._at, self._reach(limit) + longest)
            end = match.start() if match else len(self._text) - self._unsure(stops)
            self._hold(end, start + limit)
            if match or self._ended:
                return self._since(start)
            yield

    def object(self) -> Steps[dict[str, Any]]:
        """Read a JSON object, after white space."""
        return (yield from self._json("{"))

    def string(self) -> Steps[str]:
        """Read a JSON string, after white space."""
        return (yield from self._json('"'))

    def calls(self, *close: str) -> Steps[None]:
        """Read and tell calls in JSON, then one of `close` if it comes, and the white space after it.

        Objects one after another, with `,` or `;` or only white space between them, or the same in an array.
        """
        bracket = yield from self.take("[")
        while True:
            value = yield from self.object()
            self.call(self.understand(value))
            yield from self.space()
            self.drop()
            separator = yield from self.take(",", ";")
            if not separator and (yield from self.peek()) != "{":
                break
        if bracket:
            yield from self.take("]")
            yield from self.space()
        yield from self.take(*close)
        yield from self.space()

    # Telling.

    def say(self, text: str, told_as: type[Text | Thinking] = Text) -> None:
        """Tell text."""
        if text:
            if told_as is not self._pieces_are:
                self._flush()
                self._pieces_are = told_as
            self._pieces.append(text)

    def call(self, call: ToolCall) -> None:
        """Tell a call, which what is held stood for."""
        self._flush()
        self._outputs.append(call)
        self.drop()

    def drop(self) -> None:
        """What is held belonged to the syntax."""
        self._held = StringIO()
        self._size = 0

    def release(self) -> None:
        """What is held is text."""
        self.say(self._held.getvalue())
        self.drop()

    def _run(self) -> Steps[None]:
        while not self._ended or self._at < len(self._text):
            try:
                yield from self.region()
            except Malformed:
                self.release()
            else:
                self.drop()

    def _json(self, first: str) -> Steps[Any]:
        yield from self.space()
        start = self._size
        scanner = JsonScanner(first)
        while True:
            self._hold(scanner.scan(self._text, self._at, self._reach()))
            if scanner.bad or (self._ended and not scanner.done):
                raise Malformed("no JSON")
            if scanner.done:
                return decode(self._since(start))
            yield

    def _unsure(self, tags: tuple[str, ...]) -> int:
        """How many characters at the end of the text may be the beginning of one of `tags`."""
        if self._ended:
            return 0
        left = len(self._text) - self._at
        return max((_overlap(self._text, tag, left) for tag in tags), default=0)

    def _reach(self, limit: int = HELD_LIMIT) -> int:
        """How far to look: a little beyond what may be held still, however long the text is."""
        return min(len(self._text), self._at + min(limit, HELD_LIMIT - self._size) + 1)

    def _hold(self, end: int, limit: int = HELD_LIMIT) -> None:
        room = min(limit, HELD_LIMIT) - self._size
        full = end - self._at > room
        end = self._at + room if full else end
        self._size += self._held.write(self._text[self._at : end])
        self._at = end
        if full:
            raise Malformed("longer than a call may be")

    def _since(self, start: int) -> str:
        if start == self._size:
            return ""
        self._held.seek(start)
        return self._held.read()

    def _pass(self, end: int, told_as: type[Text | Thinking]) -> None:
        self.say(self._text[self._at : end], told_as)
        self._at = end

    def _flush(self) -> None:
        if self._pieces:
            self._outputs.append(self._pieces_are("".join(self._pieces)))
            self._pieces.clear()

    def _told(self) -> list[Output]:
        self._flush()
        outputs, self._outputs = self._outputs, []
        return outputs


@lru_cache(maxsize=256)
def _any_of(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(tags, key=len, reverse=True))))


def _overlap(text: str, tag: str, left: int) -> int:
    """The length of the longest end of `text`, of its last `left` characters, that begins `tag` without being it."""
    for length in range(min(left, len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
