"""The blocking promise: what the author of a local engine writes, and nothing more.

An `Engine` lives in a runner process of its own (`remuda.runner.host`), which gives it isolation, streaming,
queueing, UTF-8 assembly, stop strings, token limits, cancellation and memory that is really returned on unload.
The engine turns tokens into tokens.

The host calls every method from one thread, except `interrupt` and `tokenize`, which come from others, maybe during
`step`. It never has more than `parallel` sequences submitted at once, and does everything else between two steps:

    load -> { submit | cancel | detokenize | step }* -> close

An exception from `submit`, `tokenize` or `detokenize` fails that one request. An exception from `step` ends the
process, and with it every request in it: raise one only when the engine's state can no longer be trusted, and
yield `Failed` for a fault of one sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence as ListOf
from typing import Any

from msgspec import Struct, field

from .wire.options import Options

__all__ = ["Ended", "Engine", "Event", "Failed", "LoadSpec", "Piece", "PromptRead", "Sequence", "SerialEngine"]


class LoadSpec(Struct, frozen=True, kw_only=True):
    """What `Engine.load` is given. Sizes are in tokens."""

    name: str
    """The model's name, for messages."""
    weights: str
    """The path of the weights on this machine."""
    context: int
    """How long each sequence may become; already bounded by what the model was trained for where that is known."""
    parallel: int
    """How many sequences are wanted side by side; an engine may offer fewer (`Engine.parallel`)."""
    options: Options = field(default_factory=Options)
    """Load-time options of the request that caused the load: num_batch, num_gpu, main_gpu, use_mmap, num_thread."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """The backend's own table of the configuration."""


class Sequence(Struct, frozen=True, kw_only=True):
    """One text to continue. The host has cut `tokens` to fit: `0 < len(tokens) < limit <= context`."""

    id: int
    tokens: list[int]
    options: Options
    """Sampling options, complete: defaults, the model's and the request's, merged."""
    seed: int
    """The seed to use, 0 to 2^32-1; the host has already replaced -1 by a random one."""
    limit: int
    """Tokens that the sequence may hold, prompt and output together."""
    shift: bool = True
    """At `limit`, forget the older half of what follows the first `keep` tokens and go on; else end with "length"."""
    keep: int = 0


class PromptRead(Struct, frozen=True, tag="read", array_like=True):
    """The prompt is in the model. Comes once, before the sequence's first `Piece`."""

    id: int
    tokens: int
    """Prompt tokens, reused ones included."""
    cached: int
    """How many of them were reused and not computed."""
    nanoseconds: int
    """From the first decode that held a token of this prompt to the end of the last."""


class Piece(Struct, frozen=True, tag="piece", array_like=True):
    """One generated token and the bytes it stands for: any bytes, also a part of a UTF-8 character."""

    id: int
    token: int
    data: bytes


class Ended(Struct, frozen=True, tag="ended", array_like=True):
    """The engine ended the sequence: "stop" at an end-of-generation token (not yielded), "length" at `limit`."""

    id: int
    reason: str


class Failed(Struct, frozen=True, tag="failed", array_like=True):
    """The sequence failed and is gone. `status` 400 blames the request, 500 the engine."""

    id: int
    status: int
    message: str


Event = PromptRead | Piece | Ended | Failed


class Engine(ABC):
    """A loaded model that continues several sequences at once."""

    parallel: int
    """How many sequences it takes at once. At least 1."""
    context: int
    """How many tokens one sequence may hold."""
    vocabulary: int
    """Token ids run from 0 to `vocabulary - 1`."""

    @classmethod
    @abstractmethod
    def load(cls, spec: LoadSpec) -> Engine:
        """Load the weights. Raise `remuda.errors.LoadFailed` with a sentence for the user when it can't be done."""

    @abstractmethod
    def submit(self, sequence: Sequence) -> None:
        """Take a sequence. Cheap: the work is done by `step`."""

    @abstractmethod
    def step(self) -> Iterable[Event]:
        """Do one round of work for all live sequences: at most one new token each.

        A step must be short: at most one micro-batch of prompt. It must make progress: after a bounded number of
        steps every live sequence has ended or yielded a `Piece`.
        """

    @abstractmethod
    def cancel(self, id: int) -> None:
        """Forget a live sequence and free what it held; unknown ids are ignored. No event follows."""

    def interrupt(self, id: int) -> None:
        """Called from another thread, maybe during `step`: `cancel(id)` follows. Cut a long step short if you can."""
        return None

    @abstractmethod
    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """Tokens of `text`; special tokens written out in it are recognised. Any thread may call it at any time.

        With `bos`, the model's beginning-of-sequence token comes first if the model wants one and `text` does not
        already begin with it.
        """

    @abstractmethod
    def detokenize(self, tokens: ListOf[int]) -> bytes:
        """The bytes that `tokens` stand for."""

    def sizes(self) -> dict[str, int]:
        """Bytes held: `size` in all and `size_vram` of those on a GPU; shown by `/api/ps`. Empty if not known."""
        return {}

    def close(self) -> None:
        """Free everything. Called once, last; the process ends half a second later even if this is not done."""
        return None


class SerialEngine(Engine):
    """Base for an engine that cannot batch: one sequence at a time; the host queues the others.

    Write `run`, a generator of the one sequence's events; closing it must stop the work.
    """

    parallel: int = 1
    _run: Generator[Event, None, None] | None = None
    _id: int = -1

    @abstractmethod
    def run(self, sequence: Sequence) -> Generator[Event, None, None]:
        """Yield `PromptRead`, then a `Piece` per token, then `Ended` or `Failed`."""

    def submit(self, sequence: Sequence) -> None:
        self._run, self._id = self.run(sequence), sequence.id

    def step(self) -> Iterable[Event]:
        if self._run is None:
            return ()
        event = next(self._run, None)
        if event is None or isinstance(event, (Ended, Failed)):
            self._run = None
        return (event,) if event is not None else (Ended(self._id, "stop"),)

    def cancel(self, id: int) -> None:
        if self._run is not None and id == self._id:
            self._run.close()
            self._run = None
