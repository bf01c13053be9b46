"""Who leaves so that another can be loaded, and who is loaded anew."""

from __future__ import annotations

import math

import pytest
from desk_world import World, wish

from remuda.errors import (
    OutOfMemory,
)
from remuda.residency.effects import Room, Weigh
from remuda.residency.rules import Limits
from remuda.residency.states import State

# eviction


def test_the_idle_model_that_is_least_worth_leaves() -> None:
    world = World(limits=Limits(max_loaded=3))
    for key, seconds in (("slow", 20), ("fast", 1), ("middling", 5)):
        ticket = world.ask(key)
        world.weighed()
        world.sleep(seconds)
        world.loaded(key)
        world.end(ticket)
        world.sleep(10)
    for key in ("slow", "fast", "middling"):
        world.ready(key)
    world.sleep(10)
    world.ask("new")
    assert world.unloads == {"fast"}
    world.unloaded("fast")
    world.load("new")
    world.ask("newer")
    assert world.unloads == {"middling"}


def test_one_that_stays_for_ever_leaves_last() -> None:
    world = World(limits=Limits(max_loaded=2))
    world.ready("pinned", keep_alive=math.inf)
    world.ready("other")
    world.sleep(200)
    world.ready("pinned")
    world.ask("new")
    assert world.unloads == {"other"}
    world.unloaded("other")
    world.load("new")
    world.ask("newer")
    assert world.unloads == {"pinned"}, "but before a busy one"


def test_one_eviction_for_all_who_wait() -> None:
    world = World(limits=Limits(max_loaded=2))
    world.ready("a", "b")
    for client in range(5):
        world.ask("new", str(client))
        world.ask("newer", str(client))
    assert len(world.unloads) == 1
    world.unloaded(next(iter(world.unloads)))
    world.load("new")
    assert world.log[-2:] == [("load", "new"), ("unload", "b")]


def test_a_busy_model_is_never_told_to_leave() -> None:
    world = World(limits=Limits(max_loaded=1))
    [held] = world.busy("a")
    waiting = world.ask("b")
    world.sleep(1000)
    assert not world.unloads
    world.end(held)
    assert world.unloads == {"a"}
    world.unloaded("a")
    world.load("b")
    assert waiting.id in world.active


def test_as_many_leave_as_must_for_memory() -> None:
    world = World(memory=10_000, weights={"a": 2000, "b": 2000, "c": 2000, "big": 7000})
    world.ready("a", "b", "c", want=wish(0))
    ticket = world.ask("big", want=wish(0))
    for _ in range(2):
        world.weighed()
        [victim] = world.unloads
        world.unloaded(victim)
    world.weighed()
    assert world.loads
    assert len(world.running) == 1
    world.loaded("big")
    assert ticket.id in world.active


def test_nobody_leaves_for_what_can_never_fit() -> None:
    world = World(memory=10_000, weights={"a": 2000, "big": 20_000})
    world.ready("a")
    ticket = world.ask("big", want=wish(0))
    world.weighed()
    error = world.error(ticket)
    assert isinstance(error, OutOfMemory)
    assert "(19.5 KiB) than is available (9.8 KiB)" in error.message
    assert not world.unloads
    assert world.state("a") is State.READY


def test_loads_go_on_side_by_side_where_there_is_room() -> None:
    world = World(memory=10_000, weights={"a": 4000, "b": 4000, "c": 4000})
    for key in "abc":
        world.ask(key, want=wish(0))
    for _ in range(3):
        world.weighed()
    assert set(world.loads) == {"a", "b"}, "and what loads counts in full"


def test_what_is_weighed_for_less_is_not_taken_for_more() -> None:
    world = World(memory=3000, weights={"m": 1000})
    small = world.ask(want=wish(500))
    large = world.ask(want=wish(5000))
    first, second = world.weighs
    world.weighed(first)
    assert not world.loads
    world.weighed(second)
    assert isinstance(world.error(large), OutOfMemory)
    world.load()
    assert world.running["m"].context == 500
    assert small.id in world.active


def test_a_weighing_is_only_good_for_its_moment() -> None:
    world = World(memory=3000, weights={"a": 2000, "b": 2000})
    world.ask("a", want=wish(0))
    [of_a] = world.weighs
    world.ask("b", want=wish(0))
    world.weighed(of_a)
    world.loaded("a")
    [of_b] = world.weighs[-1:]
    assert of_b.moment > of_a.moment
    world.weighed(Weigh("b", wish(0), of_a.moment), Room(need=None))
    assert "b" not in world.loads


def test_what_was_weighed_for_those_who_left_is_weighed_anew() -> None:
    world = World(memory=3000, weights={"m": 2000})
    ticket = world.ask(want=wish(2000, automatic=True))
    world.weighed()
    world.end(ticket, served=False)
    world.memory = 9000
    world.ask(want=wish(2000, automatic=True))
    world.load()
    assert world.running["m"].context == 2000


def test_a_late_weighing_for_a_forgotten_model_is_nothing() -> None:
    world = World()
    world.desk.weighed(world.now, Weigh("unheard of", wish(), 1), Room(need=None))
    world.desk.told("unheard of", 0.5)
    assert not world.desk.effects()


# taking turns


def test_a_busy_model_serves_who_came_before_and_then_makes_room() -> None:
    world = World(limits=Limits(max_loaded=1))
    [held] = world.busy("a")
    before = world.ask("a")
    starving = world.ask("b")
    after = world.ask("a")
    world.end(held)
    assert before.id in world.active
    world.end(before)
    assert world.unloads == {"a"}
    assert after.id in world.waiting
    world.unloaded("a")
    world.load("b")
    world.end(starving)
    world.unloaded("b")
    world.load("a")
    assert after.id in world.active


def test_it_goes_on_when_nobody_starves_any_more() -> None:
    world = World(limits=Limits(max_loaded=1))
    [held] = world.busy("a")
    starving, waiting = world.ask("b"), world.ask("a", want=wish(parallel=1))
    assert world.state("a") is State.DRAINING
    world.end(starving, served=False)
    assert world.state("a") is State.READY
    world.end(held)
    assert waiting.id in world.active


def test_it_goes_on_holding_back_while_memory_is_weighed_again() -> None:
    world = World(memory=5000, weights={"a": 3000, "b": 1000, "c": 3000})
    held = world.ask("a", want=wish(0, parallel=2))
    world.load("a")
    world.ask("b", want=wish(0))
    world.weighed()
    world.ask("c", want=wish(0))
    world.weighed()
    late = world.ask("a", want=wish(0))
    assert world.state("a") is State.DRAINING
    world.loaded("b")
    assert world.weighs
    assert world.state("a") is State.DRAINING
    world.weighed()
    assert late.id in world.waiting
    world.end(held)
    assert world.unloads == {"a"}


@pytest.mark.parametrize("parallel", [1, 3])
def test_two_models_that_want_one_place_take_turns_for_as_long_as_both_are_asked_for(parallel: int) -> None:
    world, served = World(limits=Limits(max_loaded=1)), list[str]()
    for _ in range(3):
        for key in "ab":
            world.ask(key, want=wish(parallel=parallel))
    for _ in range(100):
        [ticket] = world.serve(1)
        served.append(str(world.key_of[ticket.id]))
        world.ask(served[-1], want=wish(parallel=parallel))
    assert abs(served.count("a") - served.count("b")) <= 6
    loads = sum(what == "load" for what, _ in world.log)
    assert loads <= len(served) / 3 + 1, "all who waited for a model are served once it is there"


def test_priority_goes_first_where_models_compete() -> None:
    world = World(limits=Limits(max_loaded=1))
    [held] = world.busy("a")
    world.ask("b")
    urgent = world.ask("c", priority=1)
    world.end(held)
    world.unloaded("a")
    world.load("c")
    assert urgent.id in world.active


# growth


def test_a_smaller_or_an_automatic_wish_never_reloads() -> None:
    world = World()
    world.ready("m", want=wish(1000))
    world.ready("m", want=wish(10))
    world.ready("m", want=wish(9000, automatic=True))
    assert world.log == [("load", "m")]


def test_two_growths_are_one_load_and_nobody_overtakes_them() -> None:
    world = World()
    held = world.ask(want=wish(1000))
    world.load()
    grown = [world.ask(client="b", want=wish(2000)), world.ask(client="c", want=wish(4000))]
    late = world.ask()
    assert world.waiting.keys() == {ticket.id for ticket in (*grown, late)}
    world.end(held)
    assert world.unloads == {"m"}
    world.unloaded()
    world.load()
    assert world.running["m"].context == 4000
    world.work()
    assert world.ended == {held.id, late.id, *(ticket.id for ticket in grown)}
    assert [what for what, _ in world.log] == ["load", "unload", "load"]


def test_nothing_more_is_granted_while_a_growth_is_next() -> None:
    world = World()
    held = world.ask(want=wish(parallel=2))
    world.load()
    growth = world.ask(want=wish(2000))
    late = [world.ask(), world.ask(lane="embed"), world.ask(lane="load")]
    assert world.state() is State.DRAINING
    assert world.active.keys() == {held.id}
    world.end(growth, served=False)
    assert world.state() is State.READY
    assert {held.id, *(ticket.id for ticket in late)} == world.active.keys()


def test_a_model_trained_for_less_is_not_loaded_again_and_again() -> None:
    world = World()
    world.ready("m", want=wish(1000))
    ticket = world.ask(want=wish(9000))
    world.unloaded()
    world.load(context=4000)
    world.end(ticket)
    world.ready("m", want=wish(9000))
    assert [what for what, _ in world.log] == ["load", "unload", "load"]


def test_a_growth_that_arrives_during_the_load_is_a_second_one() -> None:
    world = World()
    first = world.ask(want=wish(1000))
    world.weighed()
    second = world.ask(want=wish(2000))
    world.loaded()
    assert first.id in world.active
    assert second.id in world.waiting
    world.end(first)
    world.unloaded()
    world.load()
    assert second.id in world.active


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_client_with_many_requests_does_not_keep_the_place_from_another_client(parallel: int) -> None:
    world = World(limits=Limits(max_loaded=1))
    for _ in range(60):
        world.ask("a", "greedy", want=wish(parallel=parallel))
    world.load("a")
    one = world.ask("b", "modest", want=wish(parallel=parallel))
    served = world.serve(61)
    assert served.index(one) == 3 * parallel, "those it had, and two rounds more"
    assert sum(what == "load" for what, _ in world.log) == 3, "the rest after it, all at once"


def test_a_client_that_wants_another_model_itself_stays_in_line() -> None:
    world = World(limits=Limits(max_loaded=1))
    for _ in range(10):
        world.ask("a", "greedy", want=wish(parallel=1))
    world.load("a")
    last = world.ask("b", "greedy", want=wish(parallel=1))
    for _ in range(10):
        assert last.id in world.waiting
        assert not world.unloads
        world.end(next(iter(world.active.values())))
    assert world.unloads == {"a"}


def test_one_client_that_wants_many_models_does_not_hold_up_another() -> None:
    world = World(limits=Limits(max_loaded=1))
    tickets = {"a": world.ask("a", "greedy")}
    world.load("a")
    tickets |= {key: world.ask(key, "greedy") for key in ("b", "c", "d")}
    tickets["e"] = world.ask("e", "modest")
    order: list[str] = ["a"]
    while order[-1] != "d":
        world.end(tickets[order[-1]])
        world.unloaded(order[-1])
        world.weighed()
        [key] = world.loads
        order.append(str(key))
        world.loaded(key)
    assert order == ["a", "e", "b", "c", "d"]


def test_a_client_that_waits_for_a_load_is_not_passed_over_by_others_that_keep_coming() -> None:
    world, order = World(limits=Limits(max_loaded=1)), list[str]()
    for name in "abcd":
        world.ask(name, name)
    world.serve(8)
    for name in "abcd":
        world.ask(name, name)
    world.ask("z", "patient")
    while "z" not in order:
        [ticket] = world.serve(1)
        order.append(str(world.key_of[ticket.id]))
        world.ask(order[-1], order[-1])
        assert len(order) < 20
