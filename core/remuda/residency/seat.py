"""What the scheduler knows of one model."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from ..backend import Estimate, LoadWish
from .effects import Key, Room, Use, Weigh
from .queue import LANES, FairQueue, Lane, Rank, Ticket
from .rules import Trouble, must_grow
from .states import LOADED, State, Step, after

__all__ = ["Seat"]

_EMBEDS: Final = 64
"""Requests for vectors let in at a time: an engine packs their texts together."""
_GAPS: Final = 32


@dataclass(slots=True)
class Seat:
    key: Key
    name: str
    """For messages."""
    state: State = State.ABSENT
    closing: bool = False
    """What there was of it is being ended."""
    queues: dict[Lane, FairQueue] = field(default_factory=lambda: {lane: FairQueue() for lane in LANES})
    active: dict[int, Ticket] = field(default_factory=dict[int, Ticket])
    wish: LoadWish | None = None
    """How it is, or is being, loaded."""
    context: int = 0
    """Tokens: a wish for more makes it grow."""
    parallel: int = 1
    size: int = 0
    """Bytes, as far as known: the estimate until the model says more."""
    need: Estimate | None = None
    """What it was expected to hold when it was loaded."""
    room: Room | None = None
    """What the next load needs and what there is; None while that is being found out."""
    weighing: Weigh | None = None
    """What `room` is about: which wish, and which state of memory."""
    bound: int | None = None
    """A context that the next load must not exceed without need, after one that had too little memory."""
    promised: int = 0
    """The latest request that waited for it when it was loaded: it serves those, whoever wants its place."""
    began: float = 0.0
    """When the load began."""
    load_seconds: float = 0.0
    progress: float | None = None
    """How much of the load is done, 0 to 1, where the backend tells."""
    asked: float | None = None
    """The `keep_alive` of a request, the latest that had one; it is forgotten when the model leaves."""
    dismissed: bool = False
    """Somebody wants it gone, and no request has had a `keep_alive` since."""
    behind: Rank | None = None
    """Of the request that it has made room for: its own compete as if they had come after that one."""
    expires: float = math.inf
    """When an idle model leaves."""
    arrived: float | None = None
    """When the latest request came."""
    gaps: deque[float] = field(default_factory=lambda: deque[float](maxlen=_GAPS))
    trouble: Trouble = field(default_factory=Trouble)
    fault: str = ""
    """What the last failure said."""

    def move(self, step: Step) -> None:
        self.state = after(self.state, step)

    @property
    def takes_memory(self) -> bool:
        return self.state in LOADED or self.closing

    @property
    def waiting(self) -> int:
        return sum(map(len, self.queues.values()))

    @property
    def unused(self) -> bool:
        """Loaded, and nobody wants anything of it, though it may be leaving."""
        return self.state in {State.READY, State.DRAINING} and not self.active and not self.waiting

    @property
    def idle(self) -> bool:
        """Loaded, and nobody wants anything of it."""
        return self.state is State.READY and self.unused

    @property
    def turn(self) -> tuple[Rank, bool]:
        """Where it stands among models that want room, the smallest first."""
        own = self.head.rank if self.head is not None else (0, 0)
        return (own, False) if self.behind is None or own > self.behind else (self.behind, True)

    @property
    def head(self) -> Ticket | None:
        """The waiting ticket that goes first where models compete; None if none waits."""
        heads = (head for queue in self.queues.values() for head in queue.heads())
        return min(heads, key=lambda ticket: ticket.rank, default=None)

    @property
    def use(self) -> Use:
        return Use(asked=self.asked, gaps=tuple(self.gaps), load_seconds=self.load_seconds, size=self.size)

    def tickets(self) -> Iterable[Ticket]:
        """The waiting ones."""
        for queue in self.queues.values():
            yield from queue

    def arrive(self, now: float) -> None:
        if self.arrived is not None:
            self.gaps.append(now - self.arrived)
        self.arrived = now

    def grows(self, ticket: Ticket) -> bool:
        """Whether the model must be loaded anew for it."""
        return must_grow(self.context, ticket.wish)

    def next(self, lane: Lane, allowed: Callable[[Ticket], bool] | None = None) -> Ticket | None:
        """The waiting ticket of a lane that has its turn, if there is a place for it; of those `allowed`, or of all."""
        queue = self.queues[lane]
        if not queue:
            return None
        running = [ticket for ticket in self.active.values() if ticket.lane == lane]
        most = {"generate": self.parallel, "embed": _EMBEDS, "load": math.inf}[lane]
        return queue.pick(running, allowed) if len(running) < most else None
