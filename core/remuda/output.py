"""What comes out of a model and what may come out: pieces of text, calls of tools, log probabilities, constraints.

An `OutputParser` takes the text of one answer as it streams and says what it is: the answer itself, the thinking
before it, or a call of a tool. Parsers are offered by `ParserKind`s, which plugins register.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from msgspec import Struct, field

from .wire.chat import Tool

__all__ = [
    "Constraint",
    "Output",
    "OutputParser",
    "ParserKind",
    "ParserView",
    "Text",
    "Thinking",
    "TokenLogprob",
    "ToolCall",
]


class TokenLogprob(Struct, frozen=True):
    """One token and the natural logarithm of its probability, before any option or constraint changed it."""

    data: bytes
    logprob: float
    top: list[TokenLogprob] = field(default_factory=list["TokenLogprob"])
    """The likeliest tokens of this place, likeliest first, as many as were asked for; theirs are empty."""


class Text(Struct, frozen=True):
    """A piece of the answer: whole characters, never a part of a stop string."""

    text: str
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    """Of the tokens since the last piece, where they were asked for; the text may be empty then."""


class Thinking(Struct, frozen=True):
    """A piece of what the model thinks before it answers."""

    text: str
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model asks for; its place among the calls of an answer is counted by whoever tells the client."""

    name: str
    arguments: dict[str, Any]
    id: str = ""


Output = Text | Thinking | ToolCall


class Constraint(Struct, frozen=True, kw_only=True):
    """What the text must match."""

    grammar: str
    """A grammar in `llguidance`'s notation, as its `LLMatcher` takes it."""
    open: str = ""
    close: str = ""
    """With both, a text that begins with `open` (after white space) is free up to and with `close`, and the grammar
    binds what follows the white space after that; any other text it binds from the start. Without, from the start."""
    opened: bool = False
    """The prompt ends with `open` already: the text is free from its start up to and with `close`."""


class ParserView(Struct, frozen=True, kw_only=True):
    """What a parser may look at to decide whether it is the one for an answer."""

    template: str
    """The source of the template that rendered the prompt; empty if there was none."""
    prompt: str = ""
    """The rendered prompt; empty while no prompt is rendered yet."""
    family: str = ""
    """The architecture of the weights, such as `llama` or `qwen3`."""
    think: bool = False
    """Thinking is wanted, and told apart from the answer."""
    think_open: str = ""
    think_close: str = ""
    """The tags round thinking that the template engine found in the template; empty if it found none."""
    tool_tag: str = ""
    """What the template writes before a call of a tool, as its engine found it; empty if it found none."""
    tools: tuple[Tool, ...] = ()
    """The tools of the request."""


class OutputParser(ABC):
    """One answer's parser. Never raises for what a model wrote: what cannot be understood is text."""

    @abstractmethod
    def feed(self, text: str) -> list[Output]:
        """Take the next piece of the answer. Hold back no more than may be the beginning of a tag or a call."""

    @abstractmethod
    def finish(self) -> list[Output]:
        """The answer is over: give what was held back."""


class ParserKind(ABC):
    """A syntax that a plugin registers; made once, used for many answers."""

    stage: Literal["thinking", "tools", "both"]
    """What it tells apart. What a "thinking" parser calls text goes through the "tools" parser; "both" does both."""
    visible: tuple[str, ...] = ()
    """Control tokens that the engine has to write out as text, because the parser looks for them."""

    @abstractmethod
    def applies(self, view: ParserView) -> bool:
        """Whether this is the syntax of the model behind `view`. The kind registered last is asked first."""

    @abstractmethod
    def open(self, view: ParserView) -> OutputParser:
        """A parser for one answer."""

    def free(self, view: ParserView) -> tuple[str, str]:
        """What opens and closes the part of an answer that no constraint binds: thinking, unless a syntax has more."""
        return view.think_open, view.think_close

    def forced(self, view: ParserView, name: str | None) -> Any:
        """A value for `format` that allows nothing but a call of a tool of `view.tools`, of the tool `name` if given.

        Only asked of kinds that understand tools. None: this syntax cannot be forced.
        """
        return None
