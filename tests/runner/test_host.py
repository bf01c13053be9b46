"""What a host may rely on of every engine, and what an engine that cannot batch gets from its base class."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence as ListOf

import pytest
from hypothesis import given, strategies as st

from remuda.backend import GenerateJob
from remuda.engine import Ended, Event, LoadSpec, Piece, PromptRead, Sequence, SerialEngine
from remuda.runner.frames import MAX_FRAME, Batch, Cancel, FrameError, FrameReader, Submit, pack, unpack_down, unpack_up
from remuda.wire import Options


class _Counting(SerialEngine):
    vocabulary, context = 256, 64

    @classmethod
    def load(cls, spec: LoadSpec) -> _Counting:
        return cls()

    def run(self, sequence: Sequence) -> Generator[Event, None, None]:
        yield PromptRead(sequence.id, len(sequence.tokens), 0, 1)
        for token in range(3):
            yield Piece(sequence.id, token, b"%d" % token)
        if sequence.tokens[0] != 0:
            yield Ended(sequence.id, "length")

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return list(text.encode())

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return bytes(tokens)


class _Reading(_Counting):
    """Reads a token in a micro-batch, and after each third piece the whole prompt anew. It writes for ever."""

    parallel = 8

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []
        """Whose micro-batches were computed."""

    def run(self, sequence: Sequence) -> Generator[Event | None, None, None]:
        for piece in itertools.count():
            if piece % 3 == 0:
                if piece:
                    yield None
                for _ in sequence.tokens[1:]:
                    self.read.append(sequence.id)
                    yield None
                self.read.append(sequence.id)
                if not piece:
                    yield PromptRead(sequence.id, len(sequence.tokens), 0, 1)
            yield Piece(sequence.id, piece, b"")

    def reads(self, steps: int) -> list[list[int]]:
        """Whose micro-batches each of so many steps computes."""
        found: list[list[int]] = []
        for _ in range(steps):
            self.read = []
            list(self.step())
            found.append(self.read)
        return found


def _sequence(id: int, first: int = 1, tokens: int = 1) -> Sequence:
    return Sequence(id=id, tokens=[first] * tokens, options=Options(), seed=0, limit=64)


def test_a_serial_engine_runs_one_sequence_a_step_at_a_time() -> None:
    engine = _Counting.load(LoadSpec(name="m", weights="", context=64, parallel=4))
    assert engine.parallel == 1
    assert list(engine.step()) == []
    engine.submit(_sequence(7))
    events = [event for _ in range(5) for event in engine.step()]
    assert [type(event) for event in events] == [PromptRead, Piece, Piece, Piece, Ended]
    assert list(engine.step()) == []


def test_a_serial_engine_that_just_stops_has_ended() -> None:
    engine = _Counting()
    engine.submit(_sequence(7, first=0))
    assert [event for _ in range(6) for event in engine.step()][-1] == Ended(7, "stop")


def test_a_serial_engine_closes_what_is_cancelled() -> None:
    engine = _Counting()
    engine.submit(_sequence(7))
    assert list(engine.step())
    engine.cancel(8)
    assert list(engine.step())
    engine.cancel(7)
    assert list(engine.step()) == []


def test_a_serial_engine_reads_for_one_in_each_step_and_for_all_in_turn() -> None:
    engine = _Reading()
    for id, tokens in ((1, 3), (2, 2), (3, 1)):
        engine.submit(_sequence(id, tokens=tokens))
    assert engine.reads(6) == [[1], [2], [3], [1], [2], [1]]


def test_a_serial_engine_lets_everybody_write_in_each_step() -> None:
    engine = _Reading()
    for id in (1, 2):
        engine.submit(_sequence(id))
    assert [[event.id for event in engine.step()] for _ in range(2)] == [[1], [1, 2]]
    for id in (3, 4):
        engine.submit(_sequence(id, tokens=9))
    assert [[event.id for event in engine.step()] for _ in range(2)] == [[1, 2]] * 2


def test_a_serial_engine_has_one_that_reads_anew_wait_for_its_turn() -> None:
    engine = _Reading()
    engine.submit(_sequence(1))
    assert engine.reads(4) == [[1], [], [], []]
    for id in (2, 3):
        engine.submit(_sequence(id, tokens=9))
    assert engine.reads(4) == [[2], [3], [1], [2]]


def test_a_serial_engine_never_reads_twice_in_a_step_and_forgets_nobody() -> None:
    engine = _Reading()
    for id in range(8):
        engine.submit(_sequence(id, tokens=id + 1))
    reads = engine.reads(200)
    assert max(map(len, reads)) == 1
    for id in range(8):
        assert [id] in reads[-60:]


def test_a_serial_engine_reads_no_further_for_one_that_is_cancelled() -> None:
    engine = _Reading()
    for id in (1, 2, 3):
        engine.submit(_sequence(id, tokens=4))
    assert engine.reads(2) == [[1], [2]]
    engine.cancel(3)
    engine.cancel(1)
    assert engine.reads(3) == [[2]] * 3


@given(st.lists(st.integers(0, 2**31), max_size=10), st.data())
def test_frames_survive_any_cutting(ids: list[int], data: st.DataObject) -> None:
    stream = b"".join(pack(Cancel(id)) for id in ids)
    reader, got = FrameReader(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += [unpack_down(body) for body in reader.feed(stream[:cut])]
        stream = stream[cut:]
    assert got == [Cancel(id) for id in ids]


@pytest.mark.parametrize("body", [b"", b"\xff", b"\x81\xa4type\xa4evil", pack(Batch([]))[4:]])
def test_garbage_is_no_frame(body: bytes) -> None:
    with pytest.raises(FrameError):
        unpack_down(body)


def test_an_impossible_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="limit"):
        list(FrameReader().feed((MAX_FRAME + 1).to_bytes(4, "big")))


def test_frames_go_one_way_only() -> None:
    submit = Submit(1, GenerateJob(prompt="x", limit=1))
    assert unpack_down(pack(submit)[4:]) == submit
    with pytest.raises(FrameError):
        unpack_up(pack(submit)[4:])
