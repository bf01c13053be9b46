"""An engine on a tiny model, driven step by step: what it reuses and foretells, and what its sequences say."""

from __future__ import annotations

import random
from collections.abc import Sequence as ListOf
from pathlib import Path

from remuda import Ended, Event, Failed, LoadSpec, Piece, PromptRead, Sequence, TokenLogprob
from remuda.wire import Options
from remuda_llamacpp import _native
from remuda_llamacpp.engine import LlamaEngine

__all__ = ["PLAIN", "Said", "TinyEngine", "letters"]

PLAIN = {"prefix_reuse": False, "draft": False}
"""Settings with which every token is computed, one at a time."""


class Said:
    """What one sequence gave."""

    def __init__(self) -> None:
        self.read: PromptRead | None = None
        self.tokens: list[int] = []
        self.data = b""
        self.logprobs: list[TokenLogprob] = []
        self.end: Ended | Failed | None = None

    def take(self, event: Event) -> None:
        assert self.end is None, "an event after the end"
        if isinstance(event, PromptRead):
            assert self.read is None, "read twice"
            self.read = event
        elif isinstance(event, Piece):
            assert self.read is not None, "a piece before the prompt was read"
            self.tokens.append(event.token)
            self.data += event.data
            if event.logprob is not None:
                self.logprobs.append(event.logprob)
        else:
            self.end = event

    @property
    def cached(self) -> int:
        """Prompt tokens that were not computed."""
        assert self.read is not None, "the prompt is not read yet"
        return self.read.cached

    @property
    def whole(self) -> tuple[list[int], bytes, list[TokenLogprob], str, bytes]:
        """Everything that must not depend on how it was computed."""
        assert isinstance(self.end, Ended), self.end
        return self.tokens, self.data, self.logprobs, self.end.reason, self.end.tail


class TinyEngine:
    """With drafts off and states kept in memory only, unless `settings` say otherwise."""

    def __init__(
        self, weights: Path, *, context: int = 1024, parallel: int = 3, num_batch: int | None = None,
        adapters: ListOf[Path] = (), **settings: object,
    ) -> None:  # fmt: skip
        given = {"prefix_disk": False, "draft": False, **settings}
        spec = LoadSpec(
            name="tiny", weights=str(weights), context=context, parallel=parallel, settings=given,
            options=Options(num_thread=1, num_batch=num_batch), adapters=[str(adapter) for adapter in adapters],
        )  # fmt: skip
        self.engine = LlamaEngine.load(spec)
        self.said: dict[int, Said] = {}

    def submit(
        self, id: int, prompt: list[int], *, most: int = 20, limit: int | None = None, shift: bool = False,
        keep: int = 0, owner: str = "", seed: int = 1, constraint: object = None, logprobs: int | None = None,
        **options: object,
    ) -> Said:  # fmt: skip
        self.engine.submit(
            Sequence(
                id=id, tokens=list(prompt), options=Options(**{"temperature": 0.0, **options}), seed=seed,
                limit=limit or min(len(prompt) + most, self.engine.context), shift=shift, keep=keep, owner=owner,
                constraint=constraint, logprobs=logprobs,
            )
        )  # fmt: skip
        said = self.said[id] = Said()
        return said

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            for event in self.engine.step():
                self.said[event.id].take(event)

    def run(self, *ids: int) -> None:
        """Until these, or all that are live, have ended."""
        for _ in range(5000):
            if not set(ids or self.engine._live) & self.engine._live.keys():
                return
            self.step()
        raise AssertionError("no end")

    def alone(self, prompt: list[int], **wish: object) -> Said:
        """The engine must be idle."""
        assert not self.engine._live, "not alone"
        said = self.submit(-1, prompt, **wish)
        self.run()
        return said

    def until_read(self, id: int) -> None:
        while self.said[id].read is None:
            self.step()

    def count(self, name: str) -> float:
        return self.engine.counters()[name]

    def cells(self) -> list[int]:
        """In use, slot by slot, whoever holds them."""
        return [_native.memory_last(self.engine._memory, slot) + 1 for slot in range(self.engine.parallel)]

    def clear(self) -> None:
        """Nothing runs, and nothing is kept: as after loading."""
        for id in list(self.engine._live):
            self.engine.cancel(id)
        assert self.engine._texts is not None
        for slot in range(self.engine.parallel):
            self.engine._texts.reuse._slots.drop(slot)
            _native.memory_remove(self.engine._memory, slot, -1, -1)
        self.said.clear()


def letters(count: int, seed: int = 1) -> list[int]:
    """A text of so many tokens that nobody has read before. One seed's texts begin alike."""
    pick = random.Random(seed)
    return [pick.randrange(32, 127) for _ in range(count)]
