"""What a server and its runner say to each other: msgpack frames over a socket pair.

A frame is a four-byte big-endian length and that many bytes of msgpack. Down go `Load`, then `Submit`, `Embed`,
`Cancel` and `Ask` in any order; up come `LoadProgress`, `Loaded` or `LoadRefused`, then `Batch`es, one for each step
with the news of all sequences, `Answer`s, and a `Beat` where work goes on without news. Closing the socket ends the
runner, and a runner's end closes the socket: either side knows of the other's death without asking.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from ..backend import Done, EmbedJob, GenerateJob, ModelStats
from ..engine import LoadSpec
from ..errors import PromptTooLong, RemudaError, without_paths
from ..output import TokenLogprob

__all__ = [
    "MAX_FRAME",
    "Answer",
    "Ask",
    "Batch",
    "Beat",
    "Cancel",
    "Down",
    "Embed",
    "FrameError",
    "FrameReader",
    "Load",
    "LoadProgress",
    "LoadRefused",
    "Loaded",
    "News",
    "SeqDone",
    "SeqFailed",
    "SeqText",
    "SeqVectors",
    "Submit",
    "Up",
    "failure",
    "pack",
    "receive",
    "unpack_down",
    "unpack_up",
]

MAX_FRAME: Final = 256 * 1024 * 1024
"""Bytes; a longer announcement means that the other side is broken."""

_LENGTH = struct.Struct("!I")
_CHUNK = 256 * 1024


class FrameError(Exception):
    """The bytes are not what this protocol says."""


class Load(Struct, frozen=True, tag="load"):
    engine: str
    """`"package.module:EngineClass"`."""
    spec: LoadSpec
    hint: str = ""
    """How to install what the engine imports."""
    beat: float = 1.0
    """Seconds of silence while it works after which the runner says that it is alive."""
    memory: int = 0
    """Bytes of address space that it may have; 0 is no bound."""
    nice: int | None = None
    """As `EngineBackend.runner_nice`."""
    folder: str = ""
    """Where modules are looked for after everywhere else; empty is nowhere."""


class Submit(Struct, frozen=True, tag="submit"):
    id: int
    job: GenerateJob


class Embed(Struct, frozen=True, tag="embed"):
    id: int
    job: EmbedJob


class Cancel(Struct, frozen=True, tag="cancel"):
    id: int


class Ask(Struct, frozen=True, tag="ask"):
    """A question that gets one `Answer` with the same id."""

    id: int
    tokenize: str | None = None
    detokenize: list[int] | None = None
    """Neither: only the statistics are wanted."""


class LoadProgress(Struct, frozen=True, tag="progress"):
    fraction: float
    """From 0 to 1."""


class Loaded(Struct, frozen=True, tag="loaded"):
    context: int
    parallel: int
    stats: ModelStats
    embeds: bool = False
    """Whether it gives embeddings."""
    unconfined: str = ""
    """Why the network could not be closed to the process; empty if it is."""


class LoadRefused(Struct, frozen=True, tag="refused"):
    message: str
    reason: Literal["failed", "memory", "missing"] = "failed"
    """"memory" was wanting, or the engine is "missing" on this machine."""


class SeqText(Struct, frozen=True, tag="t", array_like=True):
    id: int
    text: str
    """Empty where text is held back and only the log probabilities leave."""
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])


class SeqDone(Struct, frozen=True, tag="d", array_like=True):
    id: int
    done: Done


class SeqFailed(Struct, frozen=True, tag="f", array_like=True):
    id: int
    status: int
    message: str
    too_long: tuple[int, int] | None = None
    """Of a `PromptTooLong`: how many tokens it has, and how many fit."""


def failure(id: int, error: Exception) -> SeqFailed:
    """What the client is told when a request cannot be taken."""
    if isinstance(error, PromptTooLong):
        return SeqFailed(id, error.status, str(error), (error.tokens, error.limit))
    if isinstance(error, RemudaError):
        return SeqFailed(id, error.status, str(error))
    return SeqFailed(id, 500, f"the engine refused the request: {without_paths(str(error) or repr(error))}")


class SeqVectors(Struct, frozen=True, tag="v", array_like=True):
    """The vectors of a request's next inputs, in order; it ends with that of its last input."""

    id: int
    vectors: list[bytes]
    tokens: int
    """Of these inputs."""


News = SeqText | SeqDone | SeqFailed | SeqVectors


class Batch(Struct, frozen=True, tag="batch"):
    """The news of one step, in order."""

    news: list[News]


class Beat(Struct, frozen=True, tag="beat"):
    """The work goes on. Inside the runner: some of the work that comes before a step was done."""


class Answer(Struct, frozen=True, tag="answer"):
    id: int
    tokens: list[int] = field(default_factory=list[int])
    data: bytes = b""
    stats: ModelStats = field(default_factory=ModelStats)
    error: str = ""


Down = Load | Submit | Embed | Cancel | Ask
Up = LoadProgress | Loaded | LoadRefused | Batch | Beat | Answer

_ENCODER = msgspec.msgpack.Encoder()
_DOWN = msgspec.msgpack.Decoder(Down)
_UP = msgspec.msgpack.Decoder(Up)


def pack(message: Struct) -> bytes:
    """One frame, length included."""
    body = _ENCODER.encode(message)
    if len(body) > MAX_FRAME:
        raise FrameError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


def unpack_down(body: bytes) -> Down:
    try:
        return _DOWN.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(str(error)) from None


def unpack_up(body: bytes) -> Up:
    try:
        return _UP.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(str(error)) from None


class FrameReader:
    """Cuts a byte stream into frames, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of the frames that are complete. Raises `FrameError` for an impossible length."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes is announced, over the limit of {MAX_FRAME}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body


def receive(sock: socket.socket) -> Iterator[bytes]:
    """Bodies of frames from a blocking socket until the other side closes it."""
    reader = FrameReader()
    while data := sock.recv(_CHUNK):
        yield from reader.feed(data)
