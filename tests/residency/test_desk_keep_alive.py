"""How long a model stays, decided without a clock, and that it goes when somebody wants it gone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from desk_world import NO, World, banned, fixed, wish

from remuda.residency.states import State
from remuda.wire import parse_keep_alive

# keep_alive


@pytest.mark.parametrize(
    ("asked", "stays"),
    [
        ("5m", 300),
        ("1h", 3600),
        (3600, 3600),
        (0, 0),
        ("0", 0),
        (-1, math.inf),
        ("-1", math.inf),
        ("-1m", math.inf),
        (None, 300),
    ],
)
def test_keep_alive_in_every_form(asked: Any, stays: float) -> None:
    world = World()
    ticket = world.ask(keep_alive=parse_keep_alive(asked))
    world.load()
    world.sleep(1000)
    assert world.state() is State.READY, "a model in use stays"
    ended = world.now
    world.end(ticket)
    assert world.desk.seats["m"].expires == ended + stays
    if 0 < stays < math.inf:
        world.sleep(stays - 0.001)
        assert not world.unloads
        world.sleep(0.001)
    elif stays:
        world.sleep(1e9)
    assert world.unloads == ({"m"} if stays < math.inf else set())


def test_keep_alive_is_kept_where_a_request_has_none_and_begins_anew() -> None:
    world = World()
    world.ready("m", keep_alive=3600)
    world.sleep(100)
    world.ready("m")
    assert world.desk.seats["m"].expires == world.now + 3600
    world.ready("m", keep_alive=10)
    world.sleep(9)
    world.ready("m")
    world.sleep(9)
    assert world.state() is State.READY
    world.sleep(1)
    assert world.unloads == {"m"}


def test_keep_alive_is_forgotten_when_the_model_leaves() -> None:
    world = World()
    world.ready("m", keep_alive=math.inf)
    world.unload()
    world.unloaded()
    world.ready("m")
    assert world.desk.seats["m"].expires == world.now + 300


def test_keep_alive_zero_waits_for_all_who_are_inside() -> None:
    world = World()
    first, second = world.ask(want=wish(parallel=2)), world.ask(keep_alive=0.0)
    world.load()
    world.end(second)
    assert not world.unloads
    world.end(first)
    assert world.unloads == {"m"}


def test_a_model_that_nobody_waited_for_to_the_end_stays_for_its_keep_alive() -> None:
    world = World()
    world.end(world.ask(), served=False)
    assert not world.loads, "it was given up before it began"
    ticket = world.ask()
    world.weighed()
    world.weighed()
    world.end(ticket, served=False)
    world.loaded()
    assert world.desk.seats["m"].expires == world.now + 300
    world.sleep(300)
    assert world.unloads == {"m"}


def test_who_asks_for_a_model_that_is_leaving_gets_a_new_one() -> None:
    world = World()
    world.ready("m", keep_alive=0.0)
    ticket = world.ask()
    assert world.unloads == {"m"}
    assert ticket.id in world.waiting
    world.unloaded()
    world.load()
    assert ticket.id in world.active


# unloading on demand


@pytest.mark.parametrize(
    "at", ["unknown", "weighing", "loading", "idle", "busy", "leaving", "failed", "dead", "banned"]
)
def test_unloading_at_any_moment(at: str) -> None:
    world = World()
    match at:
        case "weighing" | "loading":
            ticket = world.ask()
            world.weighed() if at == "loading" else None
        case "idle" | "leaving" | "dead":
            world.ready("m", keep_alive=0.0 if at == "leaving" else math.inf)
            world.died() if at == "dead" else None
        case "busy":
            ticket = world.ask(keep_alive=math.inf)
            world.load()
        case "failed":
            world.fail()
        case "banned":
            world = banned()
        case _:
            pass
    world.unload()
    if at in {"weighing", "loading", "busy"}:
        world.load() if at != "busy" else None
        assert ticket.id in world.active
        world.sleep(1000)
        assert not world.unloads
        world.end(ticket)
    assert world.unloads == ({"m"} if at in {"loading", "idle", "busy", "leaving", "dead"} else set())
    if world.unloads:
        world.unloaded()
    if at != "weighing":
        world.ready("m")
    assert world.desk.seats["m"].expires == world.now + 300, "the next one stays as usual"


def test_unloading_is_no_question_of_policy() -> None:
    world = World()
    world.desk._keep_alive = lambda seat: math.inf
    [held] = world.busy("m")
    world.unload()
    world.end(held)
    assert world.unloads == {"m"}
    world.unloaded()
    world.ready("m")
    assert world.desk.seats["m"].expires == math.inf
    world.unload()
    assert world.unloads == {"m"}


def test_a_request_with_a_keep_alive_revokes_an_unloading() -> None:
    world = World()
    ticket = world.ask(want=wish(parallel=2))
    world.load()
    world.unload()
    second = world.ask(keep_alive=60.0)
    world.end(ticket)
    world.end(second)
    assert world.desk.seats["m"].expires == world.now + 60


def test_a_load_that_failed_after_an_unloading_leaves_no_trace_of_it() -> None:
    world = World()
    world.ask()
    world.weighed()
    world.unload()
    world.load_failed(NO)
    assert fixed(world.desk.seats["m"]) == 300
