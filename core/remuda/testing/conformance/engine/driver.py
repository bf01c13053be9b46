"""Steps an engine as the runner does, and sees that what it tells of its sequences is in order.

Three things are watched at every step, whatever a test is about: that events come in the order that `remuda.engine`
promises, that none comes of a sequence that is not live, and that no live sequence waits for ever.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

from remuda.engine import Ended, Engine, Event, Failed, Piece, PromptRead, Sequence
from remuda.output import Constraint, TokenLogprob
from remuda.wire.options import Options

__all__ = ["Driver", "Said"]

_MOST_STEPS: Final = 100_000
_PATIENCE: Final = 16
"""Steps without a token that each live sequence may cost, beside one for each token of a prompt."""


class Said:
    """What one sequence has told so far."""

    def __init__(self, id: int, prompt: list[int]) -> None:
        self.id, self.prompt = id, prompt
        self.read: PromptRead | None = None
        self.pieces: list[Piece] = []
        self.end: Ended | Failed | None = None
        self.waited = 0
        """Steps since its last piece."""

    @property
    def tokens(self) -> list[int]:
        return [piece.token for piece in self.pieces]

    @property
    def data(self) -> bytes:
        return b"".join(piece.data for piece in self.pieces)

    @property
    def logprobs(self) -> list[TokenLogprob | None]:
        return [piece.logprob for piece in self.pieces]

    @property
    def cached(self) -> int:
        """Tokens of its prompt that were not computed."""
        assert self.read is not None, "the prompt is not read yet"
        return self.read.cached

    @property
    def ended(self) -> Ended:
        """Its end, which is no failure."""
        assert isinstance(self.end, Ended), f"sequence {self.id} should have ended by itself, and not: {self.end}"
        return self.end

    @property
    def whole(self) -> bytes:
        """The text and what an engine says that it lacks to match its constraint."""
        return self.data + self.ended.tail

    def take(self, event: Event) -> None:
        if isinstance(event, PromptRead):
            assert self.read is None, f"{event}: the prompt of this sequence was read already"
            self.read = event
        elif isinstance(event, Piece):
            assert self.read is not None, f"{event}: a piece comes before the prompt was read"
            self.pieces.append(event)
            self.waited = 0
        else:
            assert isinstance(event, Failed) or self.read is not None, f"{event}: an end without `PromptRead`"
            self.end = event


class Driver:
    """Sequences are greedy unless their options say otherwise. `clear` leaves the engine without any."""

    def __init__(self, engine: Engine, prompts: tuple[str, ...]) -> None:
        self.engine, self.prompts = engine, prompts
        self.places = engine.parallel
        """As many as there were from the beginning."""
        self._ids = itertools.count(1)
        self._live: dict[int, Said] = {}

    # --- prompts ---

    @property
    def starts(self) -> list[list[int]]:
        """The tokens of each prompt, a quarter of the context at most."""
        most = max(1, self.engine.context // 4)
        return [self.engine.tokenize(prompt)[:most] for prompt in self.prompts]

    def reading(self, count: int) -> list[int]:
        """A prompt of `count` tokens."""
        text = " ".join(self.prompts)
        tokens = self.engine.tokenize(text)
        more = self.engine.tokenize(f" {text}", bos=False)
        assert more, "the prompts have no tokens"
        while len(tokens) < count:
            tokens = tokens + more
        return tokens[:count]

    def lasting(self, count: int) -> list[int]:
        """The first prompt after which at least `count` tokens are written."""
        for prompt in self.starts:
            if len(self.alone(prompt, most=count).tokens) >= count:
                return prompt
        raise AssertionError(f"after none of `prompts` the model writes {count} tokens: give it others")

    # --- sequences ---

    def submit(
        self, prompt: list[int], *, most: int = 12, limit: int | None = None, shift: bool = False, keep: int = 0,
        seed: int = 1, constraint: Constraint | None = None, logprobs: int | None = None, owner: str = "",
        **options: Any,
    ) -> Said:  # fmt: skip
        """`most` tokens are written at most, unless there is a `limit`."""
        said = Said(next(self._ids), list(prompt))
        given: dict[str, Any] = {"temperature": 0.0, **options}
        sequence = Sequence(
            id=said.id,
            tokens=list(prompt),
            options=Options(**given),
            seed=seed,
            limit=limit or min(len(prompt) + most, self.engine.context),
            shift=shift,
            keep=keep,
            constraint=constraint,
            compiled=self.engine.compile(constraint) if constraint is not None else None,
            logprobs=logprobs,
            owner=owner,
        )
        self.engine.submit(sequence)
        self._live[said.id] = said
        return said

    def step(self) -> list[Event]:
        """One step. Its events are in what the sequences `Said` already."""
        for said in self._live.values():
            said.waited += 1
        patience = sum(_PATIENCE + len(said.prompt) for said in self._live.values())
        events = list(self.engine.step())
        for event in events:
            said = self._live.get(event.id)
            assert said is not None, f"{event}: this sequence is not live: it has ended, or was cancelled"
            said.take(event)
            if said.end is not None:
                del self._live[event.id]
        for said in self._live.values():
            assert said.waited <= patience, f"sequence {said.id} has told nothing for {said.waited} steps"
        return events

    def run(self, *saids: Said) -> None:
        """Step until these, or all that are live, have ended."""
        waited_for = saids or tuple(self._live.values())
        self._steps_until(lambda: all(said.end is not None for said in waited_for))

    def until(self, said: Said, tokens: int) -> None:
        """Step until it has told so many tokens, or has ended."""
        self._steps_until(lambda: len(said.pieces) >= tokens or said.end is not None)

    def until_read(self, said: Said) -> None:
        self._steps_until(lambda: said.read is not None or said.end is not None)

    def alone(self, prompt: list[int], **wish: Any) -> Said:
        """A sequence from its beginning to its end. Nothing else should be live."""
        said = self.submit(prompt, **wish)
        self.run(said)
        return said

    def texts(self, prompts: Iterable[list[int]], **wish: Any) -> list[bytes]:
        """What is written after each of `prompts`, one after the other."""
        return [self.alone(prompt, **wish).data for prompt in prompts]

    def cancel(self, said: Said) -> None:
        self.engine.cancel(said.id)
        self._live.pop(said.id, None)

    def clear(self) -> None:
        for said in list(self._live.values()):
            self.cancel(said)

    def _steps_until(self, reached: Callable[[], bool]) -> None:
        for _ in range(_MOST_STEPS):
            if reached():
                return
            self.step()
        raise AssertionError(f"no end after {_MOST_STEPS} steps")
