"""The promises: what serves a model, whatever stands behind it.

A `Backend` makes `LoadedModel`s. What a loaded model can do it says by inheriting capabilities, one small ABC each
(`Generates`, `Tokenizes`); the pipeline asks with `isinstance` and answers 400 for what is missing. All of them are
asynchronous and live in the server's process. A remote server is a `Backend` directly; a local engine is an
`Engine` (see `remuda.engine`) behind `remuda.runner.EngineBackend`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence as ListOf
from pathlib import Path
from typing import Any, ClassVar

from msgspec import Struct, field

from .model.entry import ModelEntry
from .output import Constraint, Text
from .wire.options import Options

__all__ = [
    "Backend",
    "Done",
    "EmbedJob",
    "Embedded",
    "Embeds",
    "Estimate",
    "GenerateJob",
    "Generates",
    "GenerationEvent",
    "LoadWish",
    "LoadedModel",
    "Measures",
    "ModelStats",
    "Quantizes",
    "Tokenizes",
]


class LoadWish(Struct, frozen=True, kw_only=True):
    """How a model should be loaded."""

    context: int
    """Tokens that each sequence may hold."""
    parallel: int = 1
    """Sequences side by side."""
    options: Options = field(default_factory=Options)
    """Load-time options; see `remuda.engine.LoadSpec`."""
    automatic: bool = False
    """Nobody asked for `context`: whatever a loaded model has will do, and less where memory is short."""


class Estimate(Struct, frozen=True, kw_only=True):
    """Bytes that a loaded model is expected to hold."""

    memory: int
    """Of system memory, mapped weights and the process itself included."""
    mapped: int = 0
    """Of these, bytes of mapped files: the system counts them as available although they are in use."""
    gpu: int = 0
    """Of the memory of GPUs, all together."""


class GenerateJob(Struct, frozen=True, kw_only=True):
    """A rendered prompt to continue."""

    prompt: str
    """Text whose written-out special tokens are recognised."""
    context: list[int] = field(default_factory=list[int])
    """Tokens that come before `prompt`: an earlier reply's `context`."""
    options: Options = field(default_factory=Options)
    limit: int
    """Tokens that the sequence may hold, prompt and output together."""
    truncate: bool = True
    """Cut a prompt that does not fit; else raise `PromptTooLong`."""
    shift: bool = True
    """At `limit`, forget older tokens and go on; else end with "length"."""
    want_context: bool = False
    """Put the tokens of prompt and output into `Done.context`."""
    images: list[bytes] = field(default_factory=list[bytes])
    """Image files, checked for kind and size only. `[img-0]`, `[img-1]`, ... stand for them in `prompt`."""
    constraint: Constraint | None = None
    """What the text must match. It does so however the generation ends, but for a stop string or a client that left."""
    logprobs: int | None = None
    """How many of the likeliest tokens to tell with each token's log probability, 0 to 20; None tells none at all."""
    repeat_limit: int = 0
    """End with "repeat" after more than this many equal tokens in a row; 0 never does."""
    visible: tuple[str, ...] = ()
    """Control tokens to be written out as text where they are generated; others leave no text."""


class Done(Struct, frozen=True, kw_only=True):
    """The last event of a generation. Durations in nanoseconds."""

    reason: str
    """"stop", "length" or "repeat"."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_ns: int = 0
    output_tokens: int = 0
    output_ns: int = 0
    context: list[int] | None = None
    dropped_tokens: int = 0
    """Prompt tokens cut away to make it fit; 0 if it fitted."""


GenerationEvent = Text | Done


class EmbedJob(Struct, frozen=True, kw_only=True):
    """Texts to be made into vectors."""

    inputs: list[str]
    limit: int
    """Tokens that one input may have, special ones included."""
    truncate: bool = True
    """Cut an input that is longer; else raise `BadRequest`."""


class Embedded(Struct, frozen=True):
    """`vectors` are float32 in the machine's byte order, one for each input, as the model gives them."""

    vectors: list[bytes]
    tokens: int
    """Of all inputs together, special ones included; 0 where the model cannot tell."""


class ModelStats(Struct, frozen=True, kw_only=True):
    """A loaded model's own count."""

    running: int = 0
    """Sequences being worked on."""
    waiting: int = 0
    """Sequences queued before them."""
    size: int = 0
    """Bytes held in all."""
    size_vram: int = 0
    """Of which on a GPU."""
    steps: int = 0
    """Steps of work done since the load."""
    engine: dict[str, float] = field(default_factory=dict[str, float])
    """The engine's own figures, by name; see `remuda.engine.Engine.counters`."""


class LoadedModel(ABC):
    """A model that is ready. Capabilities are further bases."""

    context: int
    """Tokens that one sequence may hold."""
    parallel: int | None = None
    """Sequences that it works on side by side; further requests wait outside. None is as many as were wished for."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """False once it cannot serve any more (its process died, its upstream is gone); it is then loaded anew."""

    @abstractmethod
    async def close(self) -> None:
        """Unload; everything it held is free when this returns. Safe to call twice."""

    async def ended(self) -> str:
        """Returns when the model has ended by itself, with its last words; never for one that cannot tell.

        Cancelled when the model is closed.
        """
        await asyncio.get_running_loop().create_future()
        return ""

    async def stats(self) -> ModelStats:
        """What it holds and does at this moment, as far as known."""
        return ModelStats()


class Generates(LoadedModel):
    @abstractmethod
    def generate(self, job: GenerateJob) -> AsyncGenerator[GenerationEvent, None]:
        """Yield `Text` events and one `Done` last, or raise a `RemudaError`.

        Closing the generator must stop the work behind it within one decode step, and within one micro-batch while
        the prompt is being read.
        """


class Embeds(LoadedModel):
    embeds: bool = True
    """False where it turned out, when the model was loaded, that this one gives none."""

    @abstractmethod
    async def embed(self, job: EmbedJob) -> Embedded:
        """One vector for each input. Cancelling stops the work within one micro-batch.

        Raises `BadRequest` for a model that gives none, and for an input that is too long and may not be cut.
        """


class Tokenizes(LoadedModel):
    @abstractmethod
    async def tokenize(self, text: str) -> list[int]:
        """Tokens of `text`, with the model's beginning-of-sequence token where it wants one."""

    @abstractmethod
    async def detokenize(self, tokens: ListOf[int]) -> str:
        """The text that `tokens` stand for; bytes that are not UTF-8 become U+FFFD."""


class Backend(ABC):
    """Made once, on first use, by the factory registered under its name."""

    formats: ClassVar[frozenset[str]] = frozenset()
    """Weight formats (`ModelEntry.format`) that it takes when nothing else decides."""
    converses: ClassVar[bool] = False
    """Its models take conversations themselves, or give vectors (`remuda.converse`): nothing is rendered for them."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        self.settings = dict(settings or {})

    @abstractmethod
    async def load(self, model: ModelEntry, wish: LoadWish) -> LoadedModel:
        """Load, or raise `LoadFailed` with a sentence for the user: `OutOfMemory` where less context might help.

        Cancelling must leave nothing behind.
        """

    async def close(self) -> None:
        """The server is going; loaded models are closed already."""
        return None


class Quantizes(Backend):
    """A backend that can write weights anew with less precision."""

    @abstractmethod
    def quantize(self, source: Path, target: Path, kind: str) -> AsyncGenerator[tuple[int, int], None]:
        """Write `source` as `target`, in the format of `source`; yield how much is done as `(completed, total)` bytes.

        `kind` is one of F32, F16, BF16, Q8_0, Q4_K_S, Q4_K_M. Both files were checked and are trusted no further than
        that: the work is done in a process of its own. Closing the generator stops it. Raises `EngineError`.
        """


class Measures(Backend):
    """A backend that knows beforehand how much memory a model will need. For others the size of its files counts."""

    gpu_overhead: int = 0
    """Bytes of each GPU's memory that `gpu_memory` leaves out (`residency.gpu_overhead`). Set from outside."""

    @abstractmethod
    async def estimate(self, model: ModelEntry, wish: LoadWish) -> Estimate:
        """What `load(model, wish)` would hold in the end."""

    async def gpu_memory(self) -> int | None:
        """Free memory of the GPUs that it uses, in bytes, all together; None where it uses none."""
        return None
