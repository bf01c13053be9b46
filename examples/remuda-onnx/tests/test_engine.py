"""What is this engine's own, beside what all engines promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_onnx import write_tiny

from remuda import Ended, LoadSpec, Piece, PromptRead, Sequence
from remuda.engine import Event
from remuda.wire.options import Options
from remuda_onnx.engine import OnnxEngine

TEXT = "Once upon a time there was a little house by the river. "


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def engine(weights: Path) -> Iterator[OnnxEngine]:
    """Reads eight tokens at a time."""
    options = Options(num_thread=1, num_batch=8)
    engine = OnnxEngine.load(LoadSpec(name="tiny", weights=str(weights), context=256, parallel=2, options=options))
    yield engine
    engine.close()


def _sequence(engine: OnnxEngine, text: str, *, id: int = 1, most: int = 4, **fields: Any) -> Sequence:
    tokens = engine.tokenize(text)
    given = {"limit": len(tokens) + most, "shift": False, "options": Options(temperature=0.0), "seed": 1, **fields}
    return Sequence(id=id, tokens=tokens, **given)


def _run(engine: OnnxEngine, sequence: Sequence) -> list[Event]:
    engine.submit(sequence)
    events: list[Event] = []
    while not events or not isinstance(events[-1], Ended):
        events += engine.step()
    return events


def _read(events: list[Event]) -> PromptRead:
    (read,) = (event for event in events if isinstance(event, PromptRead))
    return read


def _tokens(events: list[Event]) -> list[int]:
    return [event.token for event in events if isinstance(event, Piece)]


def test_the_beginning_of_a_prompt_is_not_computed_again(engine: OnnxEngine) -> None:
    """In whole micro-batches, and the last token always is."""
    first = _run(engine, _sequence(engine, TEXT))
    again = _run(engine, _sequence(engine, TEXT))
    count = _read(first).tokens
    assert _read(first).cached == 0
    assert _read(again).cached == (count - 1) // 8 * 8 > 0
    assert _tokens(again) == _tokens(first)
    counters = engine.counters()
    assert counters["prompt_tokens_cached_total"] == _read(again).cached
    assert counters["prompt_tokens_computed_total"] == 2 * count - _read(again).cached


def test_what_was_written_is_computed_again_when_it_comes_back(engine: OnnxEngine) -> None:
    first = _run(engine, _sequence(engine, TEXT, most=40))
    written = [*engine.tokenize(TEXT), *_tokens(first)]
    again = _run(engine, Sequence(id=2, tokens=written, options=Options(), seed=1, limit=len(written) + 1, shift=False))
    assert _read(again).cached == _read(first).tokens // 8 * 8


def test_the_slot_that_has_the_beginning_is_taken(engine: OnnxEngine) -> None:
    _run(engine, _sequence(engine, TEXT))
    _run(engine, _sequence(engine, f"In the morning the old man went to the market. {TEXT}"))
    assert _read(_run(engine, _sequence(engine, TEXT))).cached > 0


def test_after_a_shift_the_text_is_that_of_the_tokens_that_are_left(engine: OnnxEngine) -> None:
    """What is kept, and the younger half of the rest, as if it had been the prompt."""
    keep, most = 9, 6
    sequence = _sequence(engine, TEXT, most=most, shift=True, keep=keep)
    engine.submit(sequence)
    written: list[int] = []
    while len(written) < most + 3:
        written += _tokens(list(engine.step()))
    engine.cancel(sequence.id)
    whole = [*sequence.tokens, *written[: most - 1]]
    dropped = (len(whole) - keep) // 2
    left = [*whole[:keep], *whole[keep + dropped :], written[most - 1]]
    expected = _run(
        engine,
        Sequence(id=2, tokens=left, options=sequence.options, seed=1, limit=len(left) + 3, shift=False, owner="x"),
    )
    assert written[most:] == _tokens(expected)


def test_an_interrupt_ends_a_step_that_would_take_long(tmp_path: Path) -> None:
    """A micro-batch as long as the prompt: what is left of it is not computed."""
    options = Options(num_thread=1, num_batch=512)
    spec = LoadSpec(name="tiny", weights=str(write_tiny(tmp_path)), context=512, parallel=2, options=options)
    engine = OnnxEngine.load(spec)
    engine.submit(_sequence(engine, TEXT * 12, most=4))
    engine.submit(_sequence(engine, TEXT, id=2))
    engine.interrupt(1)
    began = time.perf_counter()
    events: list[Event] = []
    while not any(isinstance(event, Ended) for event in events):
        events += engine.step()
    assert {event.id for event in events} == {2}, "the one that was interrupted tells nothing, the other all"
    assert time.perf_counter() - began < 5
    engine.cancel(1)
    assert _tokens(_run(engine, _sequence(engine, TEXT))) == _tokens(events)
    engine.close()


def test_an_interrupt_may_come_in_the_midst_of_a_step(engine: OnnxEngine) -> None:
    expected = _tokens(_run(engine, _sequence(engine, TEXT)))
    engine.submit(_sequence(engine, TEXT * 4, most=100))
    other = threading.Thread(target=engine.interrupt, args=(1,))
    other.start()
    for _ in range(5):
        engine.step()
    other.join()
    assert not list(engine.step())
    engine.cancel(1)
    assert _tokens(_run(engine, _sequence(engine, TEXT))) == expected


def test_a_token_that_ends_a_text_ends_it(engine: OnnxEngine) -> None:
    """Drawn at random, one comes sooner or later; its text is in no piece."""
    wild = Options(temperature=50.0, top_k=0, top_p=1.0)
    ends = engine.tokenize("<|endoftext|><|im_end|>")
    reasons: set[str] = set()
    for seed in range(40):
        events = _run(engine, _sequence(engine, TEXT, most=60, options=wild, seed=seed))
        assert not set(ends) & set(_tokens(events))
        reasons.add(events[-1].reason if isinstance(events[-1], Ended) else "")
    assert reasons == {"stop", "length"}


def test_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    from remuda_onnx import load

    monkeypatch.setattr(load, "available_cores", lambda: 4)
    assert [load._threads(wished) for wished in (0, 1, 4, 1000)] == [3, 1, 4, 4]
    monkeypatch.setattr(load, "available_cores", lambda: 1)
    assert load._threads(0) == 1
