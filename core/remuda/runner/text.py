"""From the bytes of tokens to text that may leave: whole characters, and never a part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

__all__ = ["TextGate"]


class TextGate:
    """One sequence's output: bytes go in token by token, text comes out as early as it is safe.

    Two things are held back: the bytes of a character that is not complete, and an end of the text that may be the
    beginning of a stop string. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._longest = max(map(len, self._stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held: str = ""
        self.stopped: bool = False
        """True once a stop string was met; nothing comes out after it."""

    def feed(self, data: bytes) -> str:
        """The text that is now safe to send, maybe empty."""
        return self._pass(self._decoder.decode(data))

    def finish(self, tail: bytes = b"") -> str:
        """What was held back, when the sequence has ended for another reason than a stop string, and `tail`.

        Stop strings are not looked for in what `tail` completes: a text without its end would be no use.
        """
        if self.stopped:
            return ""
        text = self._decoder.decode(tail, final=True)
        before, after = ("", text) if tail else (self._pass(text), "")
        held, self._held = self._held, ""
        return before + held + after

    def _pass(self, text: str) -> str:
        if self.stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        cuts = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if cuts:
            self.stopped, self._held = True, ""
            return text[: min(cuts)]
        keep = self._begun(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _begun(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a stop string: the most of them."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
