"""An engine that does what a script says: tokens, delays, crashes, hangs, garbage. For timing, faults and edge cases.

The "weights" are a JSON file with the fields of `Script`. Everything else is real: the process, the frames, the
batching of the host.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from array import array
from collections.abc import Generator, Iterable, Sequence as ListOf
from pathlib import Path
from typing import Literal

import anyio.to_thread
import msgspec
from msgspec import Struct, structs

from remuda.backend import Estimate, LoadWish, Measures
from remuda.engine import Ended, Engine, Event, Failed, LoadSpec, Piece, PromptRead, Sequence
from remuda.errors import BadRequest, EngineError, LoadFailed, OutOfMemory
from remuda.hookspecs import RegisterFactory, hookimpl
from remuda.model import ModelEntry
from remuda.output import Constraint, TokenLogprob
from remuda.runner import EngineBackend

__all__ = ["Script", "ScriptedBackend", "ScriptedEngine", "ScriptedPlugin", "write_script"]

Fault = Literal["segv", "kill", "abort", "exit", "raise", "oom", "hang", "stop", "garbage", "fail", "nan"]
""""oom" is a `MemoryError`; "hang" goes on for ever, and "stop" stops the whole process (SIGSTOP)."""


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every sequence does. Times in seconds."""

    pieces: list[str] = msgspec.field(default_factory=lambda: ["one", " two", " three"])
    """The tokens of the answer, as text; `\\xNN` bytes as latin-1 if `raw_bytes`. Token ids are their positions."""
    raw_bytes: bool = False
    """Encode the pieces as latin-1, so that a piece may hold any bytes, also a part of a UTF-8 character."""
    tail: str = ""
    """What a text under a constraint lacks wherever it is cut. Constraints do nothing else here."""
    repeat: int = 1
    """How many times the pieces come before the answer ends."""
    delay: float = 0.0
    """Before each step, and each piece of a call for vectors."""
    load_delay: float = 0.0
    load_steps: int = 0
    """Parts of `load_delay`; progress is told after each."""
    tokenize_delay: float = 0.0
    """For each thousand characters of a prompt."""
    prompt_chunk: int = 512
    """Prompt tokens read in a step, who came first first; a token is a character."""
    parallel: int = 0
    """Sequences at once; 0 is what was asked for."""
    refuse: str = ""
    """Refuse to load with this message."""
    oom_above: int = 0
    """Refuse to load with a longer context than this, for want of memory; 0 never does."""
    size: int = 1000
    """Bytes that it says it holds."""
    needs: int = 0
    """Bytes that the backend estimates beforehand, and those for each token of all sequences."""
    needs_per_token: int = 0
    embeds: int = 0
    """Numbers in the vector of a text: of its first tokens, then zeros. 0 for a model that gives no vectors."""
    embed_most: int = 8
    embed_room: int = 64
    embed_pieces: int = 1
    """How many pieces a call for vectors is done in."""
    fault: Fault | None = None
    """What happens instead of the piece number `fault_at` of a sequence, and instead of the vectors of the micro-batch
    with the input of that number; at -1, while loading."""
    fault_at: int = 0
    faults_left: str = ""
    """The path of a file with a number, which every fault and refusal makes one less; at 0 all goes well. Empty: no
    end of them."""


class ScriptedEngine(Engine):
    vocabulary = 1_114_112

    def __init__(self, script: Script, spec: LoadSpec) -> None:
        self._script = script
        self.context = spec.context
        self.parallel = script.parallel or spec.parallel
        self.embed_most = script.embed_most if script.embeds else 0
        self.embed_room = script.embed_room
        self._embedded = 0
        self._room = 0
        """Prompt tokens that this step may still read."""
        self._written = 0
        self._live: dict[int, _Reader] = {}
        self._interrupted: set[int] = set()
        self._wake = threading.Event()

    @classmethod
    def load(cls, spec: LoadSpec) -> ScriptedEngine:
        script = _read_script(Path(spec.weights), spec.name)
        if 0 < script.oom_above < spec.context:
            raise OutOfMemory(f"{spec.name} could not be loaded: no room for {spec.context} tokens")
        if script.refuse and _fault_left(script):
            raise LoadFailed(script.refuse)
        for step in range(max(1, script.load_steps)):
            time.sleep(script.load_delay / max(1, script.load_steps))
            if script.load_steps:
                cls.progress((step + 1) / script.load_steps)
        if script.fault_at < 0 and script.fault and _fault_left(script):
            _break(script.fault)
        return cls(script, spec)

    def submit(self, sequence: Sequence) -> None:
        self.room_for(sequence, len(self._live))
        self._live[sequence.id] = _Reader(sequence)

    def step(self) -> Iterable[Event]:
        self._pause()
        self._room = self._script.prompt_chunk
        events: list[Event] = []
        for id in list(self._live):
            if id not in self._interrupted:
                events.extend(self._advance(self._live[id]))
        return events

    def cancel(self, id: int) -> None:
        self._live.pop(id, None)
        self._interrupted.discard(id)

    def compile(self, constraint: Constraint) -> None:
        return None

    def complete(self, id: int) -> bytes:
        return self._tail(self._live[id].sequence) if id in self._live else b""

    def interrupt(self, id: int) -> None:
        self._interrupted.add(id)
        self._wake.set()

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        if self._script.tokenize_delay:
            time.sleep(self._script.tokenize_delay * len(text) / 1000)
        return [ord(character) for character in text]

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return "".join(map(chr, tokens)).encode("utf-8", "replace")

    def tokenize_input(self, text: str, limit: int) -> tuple[list[int], int]:
        """A token is a character, and one stands before them and one behind: 1 and 2."""
        if limit <= 2 < len(text) + 2:
            raise BadRequest("input after truncation exceeds maximum context length")
        return [1, *self.tokenize(text[: limit - 2]), 2], len(text) + 2

    def embed(self, inputs: ListOf[ListOf[int]]) -> list[bytes]:
        script = self._script
        assert len(inputs) == 1 or (len(inputs) <= self.embed_most and sum(map(len, inputs)) <= self.embed_room)
        self._pause()
        due = self._embedded <= script.fault_at < self._embedded + len(inputs)
        if script.fault and due and _fault_left(script):
            self._embedded += len(inputs)
            if script.fault == "fail":
                raise EngineError("the script says so")
            if script.fault != "nan":
                _break(script.fault)
            return [array("f", [math.nan] * script.embeds).tobytes()] * len(inputs)
        self._embedded += len(inputs)
        padded = [[*tokens, *[0] * script.embeds][: script.embeds] for tokens in inputs]
        return [array("f", vector).tobytes() for vector in padded]

    def embedding(self, inputs: ListOf[ListOf[int]]) -> Generator[None, None, list[bytes]]:
        for _ in range(1, self._script.embed_pieces):
            self._pause()
            yield
        return self.embed(inputs)

    def sizes(self) -> dict[str, int]:
        return {"size": self._script.size, "size_vram": 0}

    def counters(self) -> dict[str, float]:
        """A cell is a token, of a prompt or of an answer, that a live sequence holds."""
        return {
            "sequences_live": len(self._live),
            "cells_live": sum(reader.read + reader.told for reader in self._live.values()),
            "pieces_total": self._written,
        }

    def _pause(self) -> None:
        """Whoever leaves cuts it short."""
        if self._script.delay:
            self._wake.wait(self._script.delay)
            self._wake.clear()

    def _advance(self, reader: _Reader) -> Iterable[Event]:
        script, id = self._script, reader.sequence.id
        prompt = len(reader.sequence.tokens)
        if reader.read < prompt:
            count = min(prompt - reader.read, self._room)
            reader.read += count
            self._room -= count
            if reader.read < prompt:
                return
            yield PromptRead(id, prompt, 0, time.perf_counter_ns() - reader.began)
        if script.fault and reader.told == script.fault_at and _fault_left(script):
            if script.fault == "fail":
                del self._live[id]
                yield Failed(id, 500, "the script says so")
                return
            _break(script.fault)
        if reader.told >= len(script.pieces) * script.repeat:
            del self._live[id]
            yield Ended(id, "stop")
        elif prompt + reader.told >= reader.sequence.limit and not reader.sequence.shift:
            del self._live[id]
            yield Ended(id, "length", self._tail(reader.sequence))
        else:
            piece = script.pieces[reader.told % len(script.pieces)]
            data = piece.encode("latin-1" if script.raw_bytes else "utf-8")
            reader.told += 1
            self._written += 1
            yield Piece(id, reader.told % self.vocabulary, data, _logprob(data, reader.sequence.logprobs))

    def _tail(self, sequence: Sequence) -> bytes:
        return self._script.tail.encode() if sequence.constraint is not None else b""


class _Reader:
    def __init__(self, sequence: Sequence) -> None:
        self.sequence, self.read, self.told = sequence, 0, 0
        self.began = time.perf_counter_ns()


def _logprob(data: bytes, most: int | None) -> TokenLogprob | None:
    """A piece of `n` bytes has -n/8; the likeliest are the piece and then the piece with a number, -1 for each."""
    if most is None:
        return None
    own = -len(data) / 8
    others = [TokenLogprob(b"%s%d" % (data, number), own - number) for number in range(1, most)]
    return TokenLogprob(data, own, [TokenLogprob(data, own), *others] if most else [])


def _read_script(path: Path, name: str) -> Script:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Script)
    except (OSError, msgspec.DecodeError) as error:
        raise LoadFailed(f"the script of {name} cannot be read: {type(error).__name__}") from None


def _fault_left(script: Script) -> bool:
    """Whether this fault is still to happen; it counts as one."""
    if not script.faults_left:
        return True
    file = Path(script.faults_left)
    left = int(file.read_text())
    file.write_text(str(max(0, left - 1)))
    return left > 0


def _break(fault: Fault) -> None:
    if fault == "raise":
        raise RuntimeError("the script says so")
    if fault == "oom":
        raise MemoryError
    if fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    if fault == "hang":
        threading.Event().wait()
    if fault == "exit":
        os.write(2, b"the script ends it\n")
        os._exit(3)
    if fault == "garbage":
        os.write(int(sys.argv[1]), b"\xff" * 64)
        threading.Event().wait()
    os.write(2, b"the script breaks it\n")
    os.kill(os.getpid(), {"segv": signal.SIGSEGV, "kill": signal.SIGKILL, "abort": signal.SIGABRT}[fault])


class ScriptedBackend(EngineBackend, Measures):
    """Takes models of the format `scripted`."""

    formats = frozenset({"scripted"})
    engine = "remuda.testing.scripted:ScriptedEngine"

    async def estimate(self, model: ModelEntry, wish: LoadWish) -> Estimate:
        script = await anyio.to_thread.run_sync(_read_script, model.weights, str(model.name))
        return Estimate(memory=script.needs + script.needs_per_token * wish.context * wish.parallel)


class ScriptedPlugin:
    """A plugin object that registers the backend `scripted`."""

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("scripted", ScriptedBackend)


def write_script(path: Path, script: Script) -> Path:
    """Write a script as a model's weights; returns `path`."""
    path.write_text(json.dumps(structs.asdict(script)), encoding="utf-8")
    return path
