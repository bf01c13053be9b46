"""The next token of every sequence whose prompt is read: one decode for all of them.

A sequence that writes alone may have guesses at its next tokens decoded with it (`drafts/drafting`): from its own text,
or by a draft model. They change no text: a guess counts where the sampler chooses just that token, and what follows the
first wrong one is taken out of the cache again. Beside others there are none: drafts of different lengths would be cut
into several micro-batches, and rows that others could fill bring more than guesses.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence as ListOf
from typing import Final

from remuda.engine import Failed

from .. import _native
from ..batch import Batch
from ..drafts.drafting import Drafter, Drafters, Source
from ..drafts.lookup import Lookup
from ..drafts.model_source import ModelSource
from ..drafts.payoff import Cost, Payoff
from ..load import Loaded
from ..threads.control import Work
from .decoder import DONE, NO_ROOM, Decoder
from .live import Live
from .reuse import Reuse

__all__ = ["Writer"]

_GAP: Final = 2.5
"""Steps, the step itself included, after which those who write shall have their next tokens while a prompt is read."""


class Writer:
    """Writes for one engine."""

    def __init__(self, loaded: Loaded, decoder: Decoder, reuse: Reuse, batch: Batch) -> None:
        self._decoder, self._reuse, self._batch = decoder, reuse, batch
        # What was guessed wrong must be taken out again.
        self._payoff = Payoff(loaded.outputs) if loaded.settings.draft and not reuse.whole else None
        self._model = loaded.draft
        self.pace = 0
        """Nanoseconds that a step of those who wrote last is expected to take."""
        self.room = 0
        """Nanoseconds until they want the next one, at least 1."""
        self.drafted = self.accepted = 0
        """Tokens so far."""

    def step(self, lives: ListOf[Live], *, quiet: bool) -> Generator[tuple[Live, int | Failed], None, None]:
        """Decode the next tokens of `lives`. Yields who can choose from which row of the logits, or what went wrong.

        `quiet`: nobody is reading, so that guesses are allowed.
        """
        lives = sorted(lives, key=_slot)
        draft = self._draft(lives[0]) if quiet and len(lives) == 1 else []
        result = self._decode(lives, draft)
        if result == NO_ROOM:
            for live in lives:
                yield live, Failed(live.id, 500, "the cache has no room for this sequence")
        if result != DONE:
            return
        for row, live in enumerate(lives):
            live.feed()
            yield live, row
            self._tell(live)
        if draft:
            yield from self._accept(lives[0], draft)

    def _decode(self, lives: ListOf[Live], draft: ListOf[int]) -> int:
        slots = [live.slot for live in lives]
        tokens = [*(live.token for live in lives), *draft]
        behind = range(lives[0].position + 1, lives[0].position + 1 + len(draft))
        positions = [*(live.position for live in lives), *behind]
        batch = self._batch.next_tokens(tokens, positions, [*slots, *slots[:1] * len(draft)])
        result = self._decoder.write(batch, len(tokens), alone=not draft and _any_alone(slots))
        spent = self._decoder.spent
        self.pace = int(self._decoder.control.expect(Work.DECODE, len(lives)) or spent)
        self.room = max(1, int(_GAP * self.pace) - spent)
        return result

    def _accept(self, live: Live, draft: ListOf[int]) -> Generator[tuple[Live, int], None, None]:
        """Go on through the rows of `draft` as long as what was chosen is what was guessed."""
        self.drafted += len(draft)
        for row, token in enumerate(draft, 1):
            if live.slot < 0 or live.token != token:
                break
            self.accepted += 1
            live.feed()
            yield live, row
            self._tell(live)
        if live.slot >= 0:
            _native.memory_remove(self._reuse.memory, live.slot, live.position, -1)

    def _draft(self, live: Live) -> list[int]:
        room = live.limit - live.held - 2
        if self._payoff is None or room <= 0:
            return []
        drafter = live.drafter = live.drafter or self._drafter(live)
        (count,) = self._payoff.share([drafter.offer()], self._cost(drafter))
        return drafter.propose(min(count, room)) if count else []

    def _drafter(self, live: Live) -> Drafters:
        def told(source: Source) -> Source:
            source.extend(live.prompt)
            source.extend([*live.output, live.token])
            return source

        drafters = [Drafter(told(Lookup(live.limit)))]
        if (model := self._model) is not None:
            drafters.append(Drafter(told(ModelSource(model, live.owner, self._threads)), model.acceptance))
        return Drafters(drafters)

    def _threads(self) -> int:
        """For the draft model, which is about to compute."""
        threads = self._decoder.control.threads(Work.DECODE, 1)
        self._decoder.places.take(threads)
        return threads

    def _cost(self, drafter: Drafters) -> Cost:
        def cost(rows: int) -> float | None:
            decode = self._decoder.control.expect(Work.DECODE, rows)
            return None if decode is None else decode + drafter.cost(rows - 1)

        return cost

    def _tell(self, live: Live) -> None:
        if live.drafter is not None and live.slot >= 0:
            live.drafter.push(live.token)


def _slot(live: Live) -> int:
    return live.slot


def _any_alone(slots: ListOf[int]) -> bool:
    """Whether a slot of the ascending `slots` has no neighbour among them."""
    taken = set(slots)
    return any(slot - 1 not in taken and slot + 1 not in taken for slot in slots)
