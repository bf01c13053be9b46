"""The table of states: what may follow what, and that nothing else may."""

from __future__ import annotations

import itertools

import pytest

from remuda.residency.states import LOADED, TABLE, State, Step, after

FORBIDDEN = [pair for pair in itertools.product(State, Step) if pair not in TABLE]


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([Step.LOAD, Step.LOADED, Step.DRAIN, Step.GONE], State.ABSENT),
        ([Step.LOAD, Step.LOADED, Step.DRAIN, Step.KEEP], State.READY),
        ([Step.LOAD, Step.GONE], State.ABSENT),
        ([Step.LOAD, Step.FAIL, Step.LOAD, Step.LOADED], State.READY),
        ([Step.LOAD, Step.LOADED, Step.DIE, Step.LOAD], State.LOADING),
        ([Step.LOAD, Step.LOADED, Step.DRAIN, Step.DIE, Step.RELEASE], State.ABSENT),
        ([Step.LOAD, Step.FAIL, Step.BAN, Step.RELEASE], State.ABSENT),
    ],
)
def test_a_model_goes_through_its_states(steps: list[Step], end: State) -> None:
    state = State.ABSENT
    for step in steps:
        state = after(state, step)
    assert state is end


@pytest.mark.parametrize(("state", "step"), FORBIDDEN)
def test_no_other_step_is_taken(state: State, step: Step) -> None:
    with pytest.raises(ValueError, match=f"a model that is {state} cannot {step}"):
        after(state, step)


def test_every_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TABLE} == set(State) == set(TABLE.values())


def test_a_model_takes_memory_from_its_load_until_it_is_gone() -> None:
    assert {TABLE[state, Step.LOAD] for state in State if (state, Step.LOAD) in TABLE} <= LOADED
    enter = {(state, step) for (state, step), end in TABLE.items() if state not in LOADED and end in LOADED}
    assert {step for _, step in enter} == {Step.LOAD}
