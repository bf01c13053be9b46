"""Whether there is room: in numbers small enough to be added up by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from remuda.backend import Estimate
from remuda.residency.effects import Room
from remuda.residency.room import lacking
from remuda.residency.seat import Seat
from remuda.residency.states import State

GIB = 2**30


def _seat(memory: int, mapped: int = 0, gpu: int = 0, state: State = State.READY) -> Seat:
    return Seat("other", "other", state=state, need=Estimate(memory=memory, mapped=mapped, gpu=gpu))


def _room(need: int, free: int | None, gpu: int = 0, gpu_free: int | None = None) -> Room:
    return Room(need=Estimate(memory=need, gpu=gpu), memory=free, gpu=gpu_free)


def test_what_is_not_known_stops_nothing() -> None:
    assert lacking(Room(need=None, memory=0, gpu=0), [_seat(10)]) is None
    assert lacking(_room(10, None, gpu=10), [_seat(10)]) is None


def test_it_fits_to_the_last_byte() -> None:
    assert lacking(_room(10, 10), []) is None
    assert lacking(_room(11, 10), []) is not None


def test_mapped_files_of_loaded_models_only_seem_free() -> None:
    assert lacking(_room(60, 100), [_seat(50, mapped=40)]) is None
    assert lacking(_room(61, 100), [_seat(50, mapped=40)]) is not None


def test_a_loading_model_may_not_have_taken_anything_yet() -> None:
    assert lacking(_room(50, 100), [_seat(50, mapped=40, state=State.LOADING)]) is None
    assert lacking(_room(51, 100), [_seat(50, mapped=40, state=State.LOADING)]) is not None


def test_alone_it_has_what_the_others_hold() -> None:
    others = [_seat(50, mapped=40), _seat(30)]
    assert lacking(_room(140, 100), others, alone=True) is None
    assert lacking(_room(141, 100), others, alone=True) is not None


def test_a_gpu_is_counted_for_itself() -> None:
    loading = _seat(0, gpu=30, state=State.LOADING)
    assert lacking(_room(1, 100, gpu=50, gpu_free=50), [_seat(0, gpu=40)]) is None
    assert lacking(_room(1, 100, gpu=50, gpu_free=79), [loading]) is not None
    assert lacking(_room(1, 100, gpu=50, gpu_free=80), [loading]) is None
    assert lacking(_room(1, 100, gpu=90, gpu_free=50), [_seat(0, gpu=40)], alone=True) is None
    assert lacking(_room(1, 100, gpu=91, gpu_free=50), [_seat(0, gpu=40)], alone=True) is not None


@pytest.mark.parametrize(
    ("room", "kind"),
    [
        (_room(5 * GIB, 2 * GIB), "system memory"),
        (_room(1, 2 * GIB, gpu=5 * GIB, gpu_free=2 * GIB), "GPU memory"),
    ],
)
def test_the_sentence_has_both_numbers(room: Room, kind: str) -> None:
    told = lacking(room, [])
    assert told is not None
    assert told.startswith(f"model requires more {kind} (5.0 GiB) than is available (2.0 GiB)")


def test_less_than_nothing_is_told_as_nothing() -> None:
    told = lacking(_room(GIB, 0), [_seat(GIB, mapped=GIB)])
    assert told is not None
    assert "available (0 B)" in told


_seats = st.lists(
    st.builds(_seat, memory=st.integers(0, 100), gpu=st.integers(0, 9), state=st.sampled_from(State)), max_size=4
)


@settings(max_examples=50, deadline=None)
@given(_seats, st.integers(0, 200), st.integers(0, 200), st.integers(0, 20), st.integers(0, 20))
def test_what_fits_beside_others_fits_alone(seats: list[Seat], need: int, free: int, gpu: int, gpu_free: int) -> None:
    room = _room(need, free, gpu, gpu_free)
    if lacking(room, seats) is None:
        assert lacking(room, seats, alone=True) is None
        assert lacking(room, []) is None
