"""What follows when a load fails, a model dies, or memory is too little after all."""

from __future__ import annotations

import pytest
from desk_world import NO, World, banned, wish

from remuda.errors import (
    EngineMissing,
    OutOfMemory,
    Quarantined,
    RemudaError,
)
from remuda.residency.rules import Limits
from remuda.residency.states import State

# failures


def test_the_second_failure_makes_the_next_try_wait() -> None:
    world = World()
    world.fail()
    world.sleep(1)
    world.fail()
    ticket = world.ask()
    assert not world.weighs
    assert world.desk.deadline(world.now) == world.now + 0.5
    world.sleep(0.5)
    world.load()
    assert ticket.id in world.active


def test_the_third_failure_ends_in_quarantine_and_is_told_at_once() -> None:
    world = banned()
    world.sleep(10)
    ticket = world.ask()
    error = world.error(ticket)
    assert isinstance(error, Quarantined)
    assert error.retry_after == 50
    assert "no" in error.message
    other = world.ask("other")
    world.load("other")
    assert other.id in world.active, "other models do not mind"


@pytest.mark.parametrize("end", ["time", "time and a tick", "unload"])
def test_a_quarantine_ends(end: str) -> None:
    world = banned()
    if end == "unload":
        world.unload()
    elif end == "time":
        world.now += 60
    else:
        world.sleep(60)
        assert world.state() is State.ABSENT
    ticket = world.ask()
    world.load()
    assert ticket.id in world.active


def test_a_quarantine_is_doubled_where_the_try_after_it_fails_and_over_where_it_serves() -> None:
    world = banned()
    world.sleep(60)
    world.fail()
    error = world.error(world.ask())
    assert isinstance(error, Quarantined)
    assert error.retry_after == 120
    world.sleep(120)
    ticket = world.ask()
    world.load()
    world.end(ticket, served=True)
    world.unload()
    world.unloaded()
    world.fail()
    assert world.state() is State.FAILED


def test_only_a_served_request_makes_good() -> None:
    world = World()
    world.fail()
    for served in (False, True):
        ticket = world.ask()
        world.load()
        world.end(ticket, served=served)
        assert bool(world.desk.seats["m"].trouble.failures) is not served
        world.unload() if served else world.sleep(300)
        world.unloaded()


@pytest.mark.parametrize("error", [EngineMissing("none"), OutOfMemory("too little")])
def test_what_the_model_is_not_to_blame_for_is_not_held_against_it(error: RemudaError) -> None:
    world = World()
    for _ in range(5):
        ticket = world.fail(error, counts=not isinstance(error, EngineMissing))
        assert world.error(ticket) is error
    assert world.state() is State.ABSENT


def test_without_quarantine_it_is_tried_again_and_again() -> None:
    world = World(limits=Limits(quarantine=0))
    for _ in range(6):
        assert world.error(world.fail()) is NO
    ticket = world.ask()
    world.sleep(0.5)
    world.load()
    assert ticket.id in world.active


def test_failures_are_forgotten_after_a_minute() -> None:
    world = World()
    for _ in range(4):
        world.fail()
        world.sleep(61)
        assert world.state() is State.ABSENT


def test_a_dead_model_is_reaped_and_its_waiters_get_a_new_one() -> None:
    world = World()
    [held] = world.busy("m")
    waiting = world.ask()
    world.died()
    assert world.unloads == {"m"}
    assert waiting.id in world.waiting
    world.end(held)
    assert not world.loads
    world.unloaded()
    world.load()
    assert waiting.id in world.active


def test_a_model_that_dies_three_times_is_quarantined_and_its_waiters_are_told() -> None:
    world = World()
    for _ in range(2):
        world.busy("m")
        world.died()
        world.unloaded()
        world.sleep(1)
    world.busy("m")
    waiting = world.ask()
    world.died()
    error = world.error(waiting)
    assert isinstance(error, Quarantined)
    assert "it fell over" in error.message
    assert world.unloads == {"m"}
    world.unloaded()
    assert world.state() is State.QUARANTINED


def test_it_dies_only_once() -> None:
    world = World()
    world.ready("m")
    world.died()
    world.died()
    world.unloaded()
    world.died()
    assert len(world.desk.seats["m"].trouble.failures) == 1
    world.ready("m", keep_alive=0.0)
    world.died()
    assert world.state() is State.DRAINING, "on its way out it may die as it likes"


def test_last_words_may_come_after_the_news_of_the_death() -> None:
    world = World()
    for _ in range(3):
        world.busy("m")
        world.died(words="no word")
        world.died(words="it fell over")
        world.unloaded()
        world.sleep(1)
    assert "it fell over" in world.error(world.ask()).message


def test_a_death_while_it_leaves_for_growth_is_no_failure() -> None:
    world = World()
    world.ready("m")
    ticket = world.ask(want=wish(5000))
    world.died()
    world.unloaded()
    world.load()
    assert ticket.id in world.active


# memory that is too little after all


def test_less_context_is_tried_once_where_nobody_asked_for_it() -> None:
    world = World()
    ticket = world.ask(want=wish(4000, automatic=True))
    world.weighed()
    world.load_failed(OutOfMemory("too little"))
    assert ticket.id in world.waiting
    world.weighed()
    assert world.loads["m"].wish == wish(1000, automatic=True)
    world.load_failed(OutOfMemory("still too little"))
    assert world.error(ticket).message == "still too little"


def test_less_context_serves_and_is_not_remembered() -> None:
    world = World()
    ticket = world.ask(want=wish(4000, automatic=True))
    world.weighed()
    world.load_failed(OutOfMemory("too little"))
    world.load()
    assert ticket.id in world.active
    world.end(ticket)
    world.unload()
    world.unloaded()
    world.ask(want=wish(4000, automatic=True))
    world.weighed()
    assert world.loads["m"].wish.context == 4000


def test_less_context_is_forgotten_with_those_who_would_have_had_it() -> None:
    world = World()
    ticket = world.ask(want=wish(4000, automatic=True))
    world.weighed()
    world.end(ticket, served=False)
    world.load_failed(OutOfMemory("too little"))
    world.ask(want=wish(4000, automatic=True))
    world.weighed()
    assert world.loads["m"].wish.context == 4000


def test_less_context_is_tried_before_a_load_that_cannot_fit() -> None:
    world = World(memory=3000, weights={"m": 1500})
    ticket = world.ask(want=wish(4000, automatic=True))
    world.weighed()
    assert ticket.id in world.waiting
    world.weighed()
    assert world.loads["m"].wish == wish(1000, automatic=True)


@pytest.mark.parametrize("told", ["beforehand", "by the load"])
def test_who_wants_too_much_is_told_and_the_others_are_served(told: str) -> None:
    world = World(memory=3000 if told == "beforehand" else None, weights={"m": 1500})
    modest, greedy = world.ask(client="a", want=wish(1000, automatic=True)), world.ask(client="b", want=wish(9000))
    world.weighed()
    world.weighed()
    if told == "by the load":
        world.load_failed(OutOfMemory("too little"))
    assert isinstance(world.error(greedy), OutOfMemory)
    world.load()
    assert modest.id in world.active


def test_a_model_that_never_finds_memory_though_nobody_asks_for_much_is_left_alone() -> None:
    world = World()
    for _ in range(3):
        ticket = world.ask(want=wish(1000, automatic=True))
        for _ in range(2):
            while "m" not in world.loads:
                if world.weighs:
                    world.weighed()
                else:
                    world.sleep(1)
            world.load_failed(OutOfMemory("too little"))
        assert isinstance(world.error(ticket), OutOfMemory)
    assert world.state() is State.QUARANTINED
    assert isinstance(world.error(world.ask()), Quarantined)
