"""Who is granted what, and what waiting comes to: one decision at a time, without loop, clock or process."""

from __future__ import annotations

import pytest
from desk_world import NO, World, wish

from remuda.errors import (
    Draining,
    ServerBusy,
    WaitedTooLong,
)
from remuda.residency.queue import Ticket
from remuda.residency.rules import Limits
from remuda.residency.states import State

# one load for all


def test_many_who_wait_cause_one_load() -> None:
    world = World()
    tickets = [world.ask(client=str(client), want=wish(parallel=8)) for client in range(8)]
    world.load()
    assert world.log == [("load", "m")]
    assert world.granted == [ticket.id for ticket in tickets]


def test_a_failed_load_is_told_to_all_and_the_next_one_tries_again() -> None:
    world = World()
    tickets = [world.ask(client=str(client)) for client in range(3)]
    world.weighed()
    world.load_failed(NO)
    assert [world.error(ticket) for ticket in tickets] == [NO] * 3
    ticket = world.ask()
    world.load()
    assert ticket.id in world.active


def test_who_needs_no_turn_needs_only_the_model() -> None:
    world = World()
    held = [world.ask(), *(world.ask(lane="load") for _ in range(5)), *(world.ask(lane="embed") for _ in range(70))]
    world.load()
    assert [ticket.id for ticket in held if ticket.id in world.waiting] == [ticket.id for ticket in held[-6:]]


def test_a_model_that_works_on_fewer_at_a_time_gets_fewer() -> None:
    world = World()
    for client in range(4):
        world.ask(client=str(client), want=wish(parallel=4))
    world.load(parallel=1)
    assert len(world.active) == 1
    assert len(world.waiting) == 3


# waiting


def test_the_queue_has_an_end() -> None:
    world = World(limits=Limits(queue=2))
    [held] = world.busy("m")
    waiting = [world.ask(), world.ask(client="b")]
    assert isinstance(world.error(world.ask()), ServerBusy)
    assert world.ask("other").id in world.waiting, "each model has its own"
    world.end(held)
    world.work()
    assert {ticket.id for ticket in waiting} <= world.ended


def test_who_waited_too_long_is_told_and_the_others_keep_their_order() -> None:
    world = World(limits=Limits(queue_timeout=10))
    [held] = world.busy("m")
    first = world.ask()
    world.sleep(4)
    second, third = world.ask(), world.ask()
    world.sleep(5.9)
    assert first.id in world.waiting
    world.sleep(0.1)
    error = world.error(first)
    assert isinstance(error, WaitedTooLong)
    assert "10 seconds" in error.message
    assert held.id in world.active, "nobody is stopped in the middle"
    world.end(held)
    world.end(second)
    assert world.granted == [held.id, second.id, third.id]


def test_a_bound_on_waiting_that_comes_later_holds_for_who_comes_later() -> None:
    world = World()
    world.busy("m")
    first = world.ask()
    world.limit(queue_timeout=10.0)
    second = world.ask()
    world.sleep(10)
    assert first.id in world.waiting
    assert isinstance(world.error(second), WaitedTooLong)


@pytest.mark.parametrize("at", ["weighing", "loading", "ready", "growing", "leaving", "failed", "starving"])
def test_giving_up_at_any_moment_leaves_nothing_behind(at: str) -> None:
    world = World(limits=Limits(max_loaded=1))
    held = None
    if at in {"ready", "growing"}:
        [held] = world.busy("m")
    elif at == "starving":
        [held] = world.busy("other")
    elif at == "leaving":
        world.ready("m", keep_alive=0.0)
    elif at == "failed":
        world.fail()
        world.fail()
    ticket = world.ask(want=wish(5000 if at == "growing" else 1000))
    if at == "loading":
        world.weighed()
    assert ticket.id in world.waiting
    world.end(ticket, served=False)
    world.end(ticket, served=False)
    if held is not None:
        assert world.state(world.key_of[held.id]) is State.READY
        world.end(held)
    world.empty()
    assert not world.desk._seat_of


def test_position_is_told_to_those_who_wait() -> None:
    world = World()
    [held] = world.busy("m")
    first, second = world.ask(client="b"), world.ask(client="b")
    assert [world.desk.position(ticket) for ticket in (held, first, second)] == [None, 1, 2]


# closing, and limits that change


@pytest.mark.parametrize("at", ["weighing", "loading", "busy", "leaving", "failed"])
def test_closing_refuses_all_who_wait_and_all_who_come(at: str) -> None:
    world = World(limits=Limits(max_loaded=1))
    match at:
        case "busy":
            world.busy("m")
        case "leaving":
            world.ready("m", keep_alive=0.0)
        case "failed":
            world.fail()
            world.fail()
        case _:
            pass
    ticket = world.ask()
    world.weighed() if at == "loading" else None
    assert ticket.id in world.waiting
    world.desk.close()
    world.take()
    late = world.ask()
    assert isinstance(world.error(ticket), Draining)
    assert isinstance(world.error(late), Draining)
    for held in list(world.active.values()):
        world.end(held)
    world.sleep(1000)
    assert not world.waiting
    assert not world.desk._seat_of


def test_a_lower_limit_takes_nothing_away_and_holds_for_the_next() -> None:
    world = World()
    held = world.busy("a", "b", "c")
    world.limit(max_loaded=1)
    assert len(world.active) == 3
    assert not world.unloads
    ticket = world.ask("d")
    for one in held:
        world.end(one)
        for key in list(world.unloads):
            world.unloaded(key)
    world.load("d")
    assert ticket.id in world.active
    assert len(world.running) == 1


def test_a_higher_limit_acts_at_once() -> None:
    world = World(limits=Limits(max_loaded=1))
    world.busy("a")
    world.ask("b")
    assert world.state("a") is State.DRAINING
    world.limit(max_loaded=2)
    world.weighed()
    assert world.state("a") is State.READY
    world.load("b")


def test_models_that_were_asked_for_once_are_forgotten_in_the_end() -> None:
    world = World()
    for number in range(300):
        world.desk.ask(world.now, number, "m", ticket := Ticket(id=number + 1, wish=wish()))
        world.desk.end(world.now, ticket, served=False)
        world.now += 1
    assert len(world.desk.seats) <= 201
    assert 299 in world.desk.seats
