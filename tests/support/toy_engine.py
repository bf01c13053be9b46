"""An engine in a page of Python that keeps every promise: bytes for tokens, and dice that know the last three of them.

It is what the conformance suite is measured by: it passes without a skip, and what is broken in it must be found.
"""

from __future__ import annotations

import math
import random
import re
from array import array
from collections import deque
from collections.abc import Generator, Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from remuda import (
    BadRequest,
    Constraint,
    Ended,
    Engine,
    LoadSpec,
    Piece,
    PromptRead,
    Sequence,
    SerialEngine,
    TokenLogprob,
)
from remuda.errors import LoadFailed
from remuda.runner import EngineBackend

__all__ = ["BOS", "Live", "TakingTurns", "ToyBackend", "ToyEngine", "write_toy"]

BOS, EOS = 256, 257
_WEIGHTS = b"a toy, whole and sound"
_WORDS = LLTokenizer("byte")
_CLOSING = b'"}]:0'
"""Bytes that are tried first when a text is to be completed."""


class Live:
    """A sequence and where it stands."""

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        self.held = list(sequence.tokens)
        self.read = 0
        self.written: list[int] = []
        self.dice = random.Random(sequence.seed)
        self.matcher: LLMatcher | None = sequence.compiled and sequence.compiled.deep_copy()


class ToyEngine(Engine):
    vocabulary = 258
    embed_most, embed_room = 4, 128

    def __init__(self, spec: LoadSpec) -> None:
        self.parallel, self.context = spec.parallel, spec.context
        self.batch = min(spec.options.num_batch or 32, 32)
        self.live: dict[int, Live] = {}
        self.waiting: deque[int] = deque()
        """Those whose prompts are to be read, in turn."""
        self.told = 0

    @classmethod
    def load(cls, spec: LoadSpec) -> ToyEngine:
        try:
            weights = Path(spec.weights).read_bytes()
        except OSError:
            raise LoadFailed(f"the weights of {spec.name} cannot be read") from None
        if weights != _WEIGHTS:
            raise LoadFailed(f"the weights of {spec.name} are no toy's")
        for part in range(3):
            cls.progress(part / 2)
        return cls(spec)

    def submit(self, sequence: Sequence) -> None:
        self.room_for(sequence, len(self.live))
        self.live[sequence.id] = Live(sequence)
        self.waiting.append(sequence.id)

    def step(self) -> list[object]:  # type: ignore[override]
        events: list[object] = []
        for live in [live for live in self.live.values() if live.read >= len(live.sequence.tokens)]:
            self.write(live, events)
        if self.waiting:
            live = self.live[self.waiting[0]]
            live.read += self.batch
            self.waiting.rotate(-1)
            if live.read >= len(live.sequence.tokens):
                self.waiting.remove(live.sequence.id)
                events.append(PromptRead(live.sequence.id, len(live.sequence.tokens), 0, 1))
                self.write(live, events)
        return events

    def write(self, live: Live, events: list[object]) -> None:
        """The next token, and the end if this was the last one."""
        token = self.choose(live)
        if token == EOS:
            self.end(live, "stop", events)
            return
        piece = Piece(live.sequence.id, token, bytes([token]) if token < BOS else b"", self.logprob(live, token))
        live.held.append(token)
        live.written.append(token)
        self.told += 1
        events.append(piece)
        if live.matcher is not None:
            live.matcher.consume_token(token)
            if live.matcher.is_stopped():
                self.end(live, "stop", events)
                return
        if len(live.held) >= live.sequence.limit:
            if live.sequence.shift:
                del live.held[live.sequence.keep : (live.sequence.keep + len(live.held)) // 2 + 1]
            else:
                self.end(live, "length", events)

    def end(self, live: Live, reason: str, events: list[object]) -> None:
        tail = self.complete(live.sequence.id) if reason == "length" else b""
        self.forget(live.sequence.id)
        events.append(Ended(live.sequence.id, reason, tail))

    def choose(self, live: Live) -> int:
        options = live.sequence.options
        logits = list(_logits(tuple(live.held[-3:])))
        last = live.held[-options.repeat_last_n :] if options.repeat_last_n > 0 else live.held
        for token in set(last) if options.repeat_last_n else ():
            logits[token] *= options.repeat_penalty ** (-1 if logits[token] > 0 else 1)
            logits[token] -= options.presence_penalty + options.frequency_penalty * last.count(token)
        if live.matcher is not None:
            mask = live.matcher.compute_bitmask()
            allowed = [bool(mask[token // 8] >> token % 8 & 1) for token in range(BOS)]
            allowed += [False, live.matcher.is_accepting()]
            logits = [logit if may else -math.inf for logit, may in zip(logits, allowed, strict=True)]
        if not options.temperature:
            return logits.index(max(logits))
        best = sorted(range(self.vocabulary), key=lambda token: -logits[token])
        best = [token for token in best if logits[token] > -math.inf]
        best = best[: options.top_k if options.top_k > 0 else None]
        weights = [math.exp((logits[token] - logits[best[0]]) / options.temperature) for token in best]
        kept, sum_, whole = 0, 0.0, sum(weights)
        while kept == 0 or (kept < len(best) and sum_ < options.top_p * whole and weights[kept] >= options.min_p):
            sum_ += weights[kept]
            kept += 1
        return live.dice.choices(best[:kept], weights[:kept])[0]

    def logprob(self, live: Live, token: int) -> TokenLogprob | None:
        most = live.sequence.logprobs
        if most is None:
            return None
        logits = _logits(tuple(live.held[-3:]))
        norm = math.log(sum(map(math.exp, logits)))
        best = sorted(range(self.vocabulary), key=lambda other: -logits[other])[:most]
        top = [TokenLogprob(_spelled(other), logits[other] - norm) for other in best]
        return TokenLogprob(_spelled(token), logits[token] - norm, top)

    def cancel(self, id: int) -> None:
        self.forget(id)

    def forget(self, id: int) -> None:
        self.live.pop(id, None)
        if id in self.waiting:
            self.waiting.remove(id)

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        tokens = [BOS] if bos and not text.startswith("<s>") else []
        for part in re.split("(<s>|</s>)", text):
            special = {"<s>": [BOS], "</s>": [EOS]}
            tokens += special.get(part) or part.encode()
        return tokens

    def detokenize(self, tokens: Iterable[int]) -> bytes:  # type: ignore[override]
        return bytes(token for token in tokens if token < BOS)

    def compile(self, constraint: Constraint) -> LLMatcher:
        matcher = LLMatcher(_WORDS, constraint.grammar, log_level=0)
        if matcher.is_error() or not constraint.grammar:
            raise BadRequest("invalid format")
        return matcher

    def complete(self, id: int) -> bytes:
        matcher = self.live[id].matcher
        if matcher is None:
            return b""
        matcher, tail = matcher.deep_copy(), b""
        while not matcher.is_accepting():
            mask = matcher.compute_bitmask()
            order = [*_CLOSING, *range(BOS)]
            byte = next(byte for byte in order if mask[byte // 8] >> byte % 8 & 1)
            matcher.consume_token(byte)
            tail += bytes([byte])
        return tail

    def tokenize_input(self, text: str, limit: int) -> tuple[list[int], int]:
        tokens = self.tokenize(text)
        if limit < 2:
            raise BadRequest("no room for an input")
        return tokens[:limit], len(tokens)

    def embed(self, inputs: Iterable[list[int]]) -> list[bytes]:  # type: ignore[override]
        return [array("f", _vector(tokens)).tobytes() for tokens in inputs]

    def sizes(self) -> dict[str, int]:
        return {"size": 1000, "size_vram": 0}

    def counters(self) -> dict[str, float]:
        return {"sequences_live": len(self.live), "pieces_total": self.told}


class TakingTurns(SerialEngine, ToyEngine):
    """The same with a run for each sequence."""

    def __init__(self, spec: LoadSpec) -> None:
        SerialEngine.__init__(self)
        ToyEngine.__init__(self, spec)

    def submit(self, sequence: Sequence) -> None:
        ToyEngine.submit(self, sequence)
        SerialEngine.submit(self, sequence)

    def run(self, sequence: Sequence) -> Generator[Any, None, None]:
        live = self.live[sequence.id]
        for _ in range(self.batch, len(sequence.tokens), self.batch):
            yield None
        yield PromptRead(sequence.id, len(sequence.tokens), 0, 1)
        while True:
            events: list[object] = []
            self.write(live, events)
            self.live[sequence.id] = live  # it is live until its end is told
            yield from events

    def cancel(self, id: int) -> None:
        self.forget(id)
        SerialEngine.cancel(self, id)


class ToyBackend(EngineBackend):
    """Its process must find this module: `PYTHONPATH`."""

    engine = "toy_engine:ToyEngine"


def write_toy(path: Path) -> Path:
    path.write_bytes(_WEIGHTS)
    return path


@lru_cache(4096)
def _logits(last: tuple[int, ...]) -> list[float]:
    """Printable ASCII is likely; the beginning of a sequence never comes, and its end seldom."""
    dice = random.Random(repr(last))
    return [dice.gauss(3.0 if 32 <= token < 127 else 0.0, 2.0) for token in range(256)] + [-1e9, -1.0]


def _spelled(token: int) -> bytes:
    return {BOS: b"<s>", EOS: b"</s>"}.get(token) or bytes([token])


def _vector(tokens: list[int]) -> list[float]:
    pairs = list(pairwise([*tokens, EOS]))
    return [sum(random.Random(hash(pair) + number).gauss(0, 1) for pair in pairs) for number in range(8)]
