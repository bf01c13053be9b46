"""The blocking promise: what the author of a local engine writes, and nothing more.

An `Engine` lives in a runner process of its own (`remuda.runner.host`), which gives it isolation, streaming,
queueing, UTF-8 assembly, stop strings, token limits, cancellation and memory that is really returned on unload.
The engine turns tokens into tokens.

The host calls every method from one thread, except `interrupt`, `tokenize`, `tokenize_media`, `tokenize_input` and
`compile`, which come from others, maybe during `step`. It never has more than `parallel` sequences submitted at once,
and does everything else between two steps:

    load -> { submit | complete | cancel | detokenize | a piece of an embedding | step }* -> close

An exception from `submit`, `compile` or a method about tokens fails that one request. An exception from `step` ends
the process, and with it every request in it: raise one only when the engine's state can no longer be trusted, and
yield `Failed` for a fault of one sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Sequence as ListOf
from typing import Any, ClassVar

from msgspec import Struct, field

from .errors import BadRequest, EngineError
from .output import Constraint, TokenLogprob
from .wire.options import Options

__all__ = ["Ended", "Engine", "Event", "Failed", "LoadSpec", "Media", "Piece", "PromptRead", "Sequence", "SerialEngine"]


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
    """Load-time options of the request that caused the load: num_batch, num_gpu, main_gpu, use_mmap, num_thread,
    draft_num_predict."""
    projector: str | None = None
    """The path of the weights that make images readable to the model, if it has any."""
    adapters: list[str] = field(default_factory=list[str])
    """Paths of LoRA weights to be applied to the model, in this order."""
    draft: str | None = None
    """The path of a smaller model with the same vocabulary, for an engine that can let it guess tokens ahead.

    How many at a time is the option draft_num_predict: 0 is none, and None as many as the engine finds right.
    """
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """The backend's own table of the configuration."""


class Media(Struct, frozen=True):
    """An image in a prompt, as `Engine.tokenize_media` made it ready."""

    tokens: int
    """Places that it takes in the context."""
    handle: Any
    """The engine's own."""


class Sequence(Struct, frozen=True, kw_only=True):
    """One text to continue. The host has cut `tokens` to fit: `0 < len(tokens) < limit <= context`."""

    id: int
    tokens: list[int]
    """`Engine.MEDIA` at each place that an image takes."""
    options: Options
    """Sampling options, complete: defaults, the model's and the request's, merged."""
    seed: int
    """The seed to use, 0 to 2^32-1; the host has already replaced -1 by a random one."""
    limit: int
    """Tokens that the sequence may hold, prompt and output together."""
    shift: bool = True
    """At `limit`, forget the older half of what follows the first `keep` tokens and go on; else end with "length"."""
    keep: int = 0
    media: list[Media] = field(default_factory=list[Media])
    """The images, in the order of their places in `tokens`."""
    constraint: Constraint | None = None
    compiled: Any = None
    """What `Engine.compile` made of the constraint."""
    logprobs: int | None = None
    """How many of the likeliest tokens each `Piece` tells beside its own; None tells no log probability at all."""
    visible: tuple[str, ...] = ()
    """Control tokens whose text a `Piece` shall hold."""
    owner: str = ""
    """Whose text it is. What was computed for one owner is never reused for another."""


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
    logprob: TokenLogprob | None = None
    """Where the sequence asked for it."""


class Ended(Struct, frozen=True, tag="ended", array_like=True):
    """The engine ended the sequence: "length" at `limit`, else "stop".

    That is at an end-of-generation token, which is not yielded, or where a constraint is met and allows nothing more.
    """

    id: int
    reason: str
    tail: bytes = b""
    """What a constrained text lacked to match its grammar when it ended; see `Engine.complete`."""


class Failed(Struct, frozen=True, tag="failed", array_like=True):
    """The sequence failed and is gone. `status` 400 blames the request, 500 the engine."""

    id: int
    status: int
    message: str


Event = PromptRead | Piece | Ended | Failed


class Engine(ABC):
    """A loaded model that continues several sequences at once."""

    MEDIA: ClassVar[int] = -1
    """Stands for a place of an image among the tokens of a prompt."""

    parallel: int
    """How many sequences it takes at once. At least 1."""
    context: int
    """How many tokens one sequence may hold."""
    vocabulary: int
    """Token ids run from 0 to `vocabulary - 1`."""
    embed_most: int = 0
    """How many inputs one call of `embedding` takes; 0 for a model that gives no embeddings."""
    embed_room: int = 0
    """How many tokens several inputs may have together, as many as are fast; one alone may have `context` of them."""

    @classmethod
    @abstractmethod
    def load(cls, spec: LoadSpec) -> Engine:
        """Load the weights. Raise `remuda.errors.LoadFailed` with a sentence for the user when it can't be done.

        `OutOfMemory`, or Python's own `MemoryError`, where it failed for want of memory: less may be tried then.
        A load that takes long calls `cls.progress` meanwhile.
        """

    @classmethod
    def progress(cls, fraction: float) -> None:
        """To be called from `load`, any number of times: how much of it is done, 0 to 1. A load that stops telling
        counts as stuck after `residency.load_timeout`. The runner listens by putting its own in this one's place."""
        return None

    @abstractmethod
    def submit(self, sequence: Sequence) -> None:
        """Take a sequence. Cheap: the work is done by `step`.

        Raise `BadRequest` for a prompt that is empty, fills the whole of `limit`, or holds what is no token: `room_for`
        does.
        """

    def room_for(self, sequence: Sequence, live: int) -> int:
        """How many tokens the text of `sequence` may have, for `submit`, where `live` others have their places.

        Raises `BadRequest` for what `submit` must refuse, and `EngineError` where all places are taken.
        """
        tokens, limit = sequence.tokens, min(sequence.limit, self.context)
        if not 0 < len(tokens) < limit:
            raise BadRequest(f"the prompt has {len(tokens)} tokens; from 1 to {limit - 1} fit")
        if min(tokens) < (self.MEDIA if sequence.media else 0) or max(tokens) >= self.vocabulary:
            raise BadRequest(f"the prompt holds a token that is not in the vocabulary (0 to {self.vocabulary - 1})")
        if live >= self.parallel:
            raise EngineError(f"all {self.parallel} sequences are taken")
        return limit

    @abstractmethod
    def step(self) -> Iterable[Event]:
        """Do one round of work for all live sequences: one new token each, or a few where they were guessed right.

        A step must be short: at most one micro-batch of prompt, however many sequences are to be read, so that
        together their prompts take as many steps as one after the other. It must make progress: after a bounded
        number of steps every live sequence has ended or yielded a `Piece`. One that lasts longer than
        `residency.stall_timeout` counts as a hang, and its process is ended. The host may cancel a sequence at any of
        its pieces and drops those that follow.
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

    def tokenize_media(self, text: str, images: ListOf[bytes], *, bos: bool = True) -> tuple[list[int], list[Media]]:
        """Tokens of `text`, with `MEDIA` where images stand, and the images in that order.

        `[img-0]`, `[img-1]`, ... in `text` name the images; the first occurrence of each counts, further ones are
        text, and so is the name of an image that is not there. An image that is not named comes first.
        `images` are files (PNG, JPEG, GIF, BMP, WebP) whose kind and size were checked and nothing else: raise
        `BadRequest` for one that cannot be read. Any thread may call this at any time.
        """
        raise BadRequest("this model takes no images")

    def compile(self, constraint: Constraint) -> Any:
        """`constraint` made ready for `Sequence.compiled`. Any thread may call this at any time.

        Raise `BadRequest` for one that cannot be used. An engine that does not write this takes no constraints.
        """
        raise BadRequest("this model cannot keep to a format")

    def complete(self, id: int) -> bytes:
        """What would make the constrained text of a live sequence match its grammar: the shortest that is found.

        Empty without a constraint, or when the text matches already. `cancel(id)` follows.
        """
        return b""

    @abstractmethod
    def detokenize(self, tokens: ListOf[int]) -> bytes:
        """The bytes that `tokens` stand for."""

    def tokenize_input(self, text: str, limit: int) -> tuple[list[int], int]:
        """Tokens of a text to be embedded, with the special ones round it, cut at the end of the text to `limit`.

        And how many they would be uncut. Raise `BadRequest` if the special ones alone are more. Any thread may call
        this at any time.
        """
        raise BadRequest("this model gives no embeddings")

    def embed(self, inputs: ListOf[ListOf[int]]) -> list[bytes]:
        """One vector for each of `inputs`: float32 in the machine's byte order, as the model pools them.

        At most `embed_most` inputs with `embed_room` tokens together, or one with `context`. For an engine that takes
        them all in one micro-batch; write `embedding` instead where it takes more. An exception fails the requests
        that the inputs belong to.
        """
        raise BadRequest("this model gives no embeddings")

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        """What the host calls: `embed` in pieces. Here it is a single piece, `embed` itself.

        It yields after each micro-batch, and returns the vectors in the end. A piece is done between two steps, must
        be as short as one, and counts as one for `residency.stall_timeout`. There is one such generator at a time, and
        the host closes it before its end when nobody wants the vectors any more: that must free what it held.

        Meanwhile up to `parallel` sequences are submitted all the same. Where these hold all that it needs, it yields
        without having done anything, and goes on when one of them has ended.
        """
        yield from ()
        return self.embed(inputs)

    def sizes(self) -> dict[str, int]:
        """Bytes held: `size` in all and `size_vram` of those on a GPU; shown by `/api/ps`. Empty if not known."""
        return {}

    def counters(self) -> dict[str, float]:
        """The engine's own figures, by names in snake_case that say what is counted: `cells_live`.

        A name ends in `_total` where the figure only grows. The names are the same at every call. Called between two
        steps whenever somebody looks at `/metrics` or `/api/ps`, so it must be cheap: read what is known, compute
        nothing.
        """
        return {}

    def close(self) -> None:
        """Free everything. Called once, last; the process ends half a second later even if this is not done."""
        return None


class SerialEngine(Engine):
    """Base for an engine that cannot batch: it computes one sequence at a time.

    Each sequence is a run of its own. With one context, which is the rule, it has the engine to itself until it ends,
    and the host queues the others, first come first served: what a context holds is one text, so that taking turns
    would mean to read a whole text anew for each token. An engine that can have several contexts opens them in `load`
    and says in `parallel` how many they are. The runs then take turns: in every step each one that writes goes on by
    one event, and of those that read the one whose turn it is, so that no step reads more than one micro-batch.

    Write `run`; call `super().__init__()` where you write `__init__`, and `super().submit` and `super().cancel` where
    you write those.
    """

    parallel: int = 1

    def __init__(self) -> None:
        self._runs: dict[int, Generator[Event | None, None, None]] = {}
        self._reading: deque[int] = deque()
        """In turn: those that were just submitted, or yielded None last."""

    @abstractmethod
    def run(self, sequence: Sequence) -> Generator[Event | None, None, None]:
        """Yield `PromptRead`, then a `Piece` per token, then `Ended` or `Failed`.

        And None after each micro-batch of a longer prompt, where there is nothing to tell yet: others have their turn
        then, and the sequence can be cancelled. So a run that has to read in the midst of its writing, as after a
        shift of its context, yields None before it does: it must not read where it may not have the turn to.

        Closing the generator must free what the sequence held; it is always closed, by `cancel` or after the last
        event. A run that just returns has ended with "stop".
        """

    def submit(self, sequence: Sequence) -> None:
        self._runs[sequence.id] = self.run(sequence)
        self._reading.append(sequence.id)

    def step(self) -> Iterable[Event]:
        events: list[Event] = []
        turns = [id for id in self._runs if id not in self._reading]
        if self._reading:
            turns.append(self._reading.popleft())
        for id in turns:
            event = next(self._runs[id], Ended(id, "stop"))
            if event is None:
                self._reading.append(id)
                continue
            events.append(event)
            if isinstance(event, (Ended, Failed)):
                self.cancel(id)
        return events

    def cancel(self, id: int) -> None:
        if (run := self._runs.pop(id, None)) is not None:
            run.close()
        if id in self._reading:
            self._reading.remove(id)
