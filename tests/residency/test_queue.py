"""Who is next."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest
from desk_world import World, wish
from hypothesis import given, settings, strategies as st

from remuda.job import Client
from remuda.residency.queue import FairQueue, Ticket
from remuda.residency.rules import Limits


class _Counter:
    """A queue, and `places` of those that it lets in."""

    def __init__(self, places: int = 1) -> None:
        self.queue, self.places, self.running = FairQueue(), places, list[Ticket]()
        self._ids = itertools.count(1)

    def ticket(self, client: str, priority: int = 0) -> Ticket:
        address, _, key = client.partition("/")
        return Ticket(id=next(self._ids), wish=wish(), client=Client(address, key), priority=priority)

    def add(self, client: str, priority: int = 0) -> Ticket:
        ticket = self.ticket(client, priority)
        self.queue.add(ticket)
        return ticket

    def serve(self) -> str:
        """The next one is let in, where there is no place instead of the one that is in for longest."""
        if len(self.running) >= self.places:
            self.running.pop(0)
        ticket = self.queue.pick(self.running)
        assert ticket is not None
        self.queue.take(ticket)
        self.running.append(ticket)
        return f"{ticket.client.address}/{ticket.client.key}".rstrip("/")

    def order(self, count: int | None = None) -> list[str]:
        return [self.serve() for _ in range(len(self.queue) if count is None else count)]


@pytest.mark.parametrize("places", [1, 2, 4])
def test_a_hundred_requests_of_one_do_not_hold_up_one_of_another(places: int) -> None:
    counter = _Counter(places)
    for _ in range(100):
        counter.add("many")
    counter.order(places + 3)
    counter.add("one")
    assert counter.serve() == "one"


def test_keys_share_the_share_of_their_address() -> None:
    counter = _Counter()
    for key in range(10):
        for _ in range(5):
            counter.add(f"1/{key}")
    for _ in range(50):
        counter.add("2")
    order = counter.order(40)
    assert Counter(client.partition("/")[0] for client in order) == {"1": 20, "2": 20}
    assert Counter(client for client in order if client != "2") == {f"1/{key}": 2 for key in range(10)}


def test_within_a_client_first_come_first_served() -> None:
    counter = _Counter(3)
    tickets = [counter.add("1") for _ in range(20)]
    counter.order()
    assert counter.running == tickets[-3:]


def test_the_higher_priority_goes_first_whoever_asks() -> None:
    counter = _Counter()
    for number, priority in enumerate((0, 5, 0, -1, 5, 9)):
        counter.add(str(number % 2), priority)
    served = list[int]()
    while counter.queue:
        counter.serve()
        served.append(counter.running[-1].priority)
    assert served == [9, 5, 5, 0, 0, -1]


@pytest.mark.parametrize("places", [1, 2])
def test_turns_go_round_for_as_long_as_they_keep_coming(places: int) -> None:
    counter, served = _Counter(places), Counter[str]()
    for client in "123":
        counter.add(client)
    for _ in range(300):
        client = counter.serve()
        served[client] += 1
        counter.add(client)  # at once again
    assert max(served.values()) - min(served.values()) <= 3


def test_strangers_who_keep_coming_do_not_hold_up_who_waits() -> None:
    counter = _Counter()
    for _ in range(5):
        counter.add("old")
    served = list[str]()
    for stranger in range(20):
        counter.add(f"new{stranger}")
        counter.add(f"newer{stranger}")
        served.append(counter.serve())
    assert served.count("old") >= 2
    waited = [at for at, client in enumerate(served) if client == "old"]
    assert waited[0] <= 1


def test_nobody_saves_up_turns() -> None:
    counter = _Counter()
    counter.add("late")
    counter.serve()
    for _ in range(50):
        counter.add("busy")
    counter.order(30)
    for _ in range(30):
        counter.add("late")
    assert Counter(counter.order(20)) == {"late": 10, "busy": 10}


def test_only_those_allowed_count_where_that_is_given() -> None:
    counter = _Counter()
    first, second = counter.add("1"), counter.add("2")
    assert counter.queue.pick([first], lambda ticket: ticket.rank < second.rank) == first
    counter.queue.remove(first)
    assert counter.queue.pick([], lambda ticket: ticket.rank < second.rank) is None
    assert counter.queue.pick([]) == second


def test_position_counts_the_turns_before() -> None:
    counter = _Counter()
    many = [counter.add("1") for _ in range(5)]
    one = counter.add("2")
    urgent = counter.add("3", priority=1)
    assert counter.queue.position(urgent) == 1
    assert counter.queue.position(many[0]) == 2
    assert counter.queue.position(one) == 3
    assert counter.queue.position(many[4]) == 7


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["1", "1/x", "2", "3"]), st.integers(0, 1)), min_size=1, max_size=20))
def test_positions_are_about_the_order(asked: list[tuple[str, int]]) -> None:
    counter = _Counter()
    tickets = [counter.add(client, priority) for client, priority in asked]
    positions = {ticket.id: counter.queue.position(ticket) for ticket in tickets}
    assert all(1 <= position <= len(tickets) for position in positions.values())
    counter.serve()
    served = counter.running[0]
    assert positions[served.id] <= 1 + sum(other.priority == served.priority for other in tickets) / 2


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_it_keeps_account(data: st.DataObject) -> None:
    counter, waiting = _Counter(data.draw(st.integers(1, 3))), list[Ticket]()
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["add", "add", "remove", "serve"])):
            case "remove" if waiting:
                ticket = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
                assert counter.queue.remove(ticket)
                assert not counter.queue.remove(ticket)
            case "serve" if waiting:
                counter.serve()
                ticket = counter.running[-1]
                waiting.remove(ticket)
                alike = [
                    other for other in waiting if (other.client, other.priority) == (ticket.client, ticket.priority)
                ]
                assert all(other.id > ticket.id for other in alike)
                assert ticket.priority == max(other.priority for other in [*waiting, ticket])
            case _:
                waiting.append(counter.add(data.draw(st.sampled_from(["1", "1/x", "2"])), data.draw(st.integers(0, 1))))
        assert len(counter.queue) == len(waiting)
        assert {ticket.id for ticket in counter.queue} == {ticket.id for ticket in waiting}
    counter.order()
    assert not counter.queue.heads()
    assert counter.queue.pick([]) is None


def test_one_too_many_is_refused_at_once_however_many_wait() -> None:
    world = World(limits=Limits(queue=512))
    world.ask("m", "0")
    world.load("m")
    for client in range(512):
        world.ask("m", str(client))
    assert len(world.waiting) == 512
    ticket = Ticket(id=10**6, wish=wish())
    began = time.perf_counter()
    for _ in range(100):
        world.desk.ask(world.now, "m", "m", ticket)
    assert (time.perf_counter() - began) / 100 < 0.002
    assert len(world.desk.effects()) == 100
    world.work()
    assert len(world.ended) == 513, "and all the others are served"


def test_a_full_queue_makes_room_for_who_has_less_in_it() -> None:
    counter = _Counter()
    first, last = counter.add("greedy"), counter.add("greedy")
    other = counter.add("other")
    assert counter.queue.crowder(counter.ticket("modest")) == last
    assert counter.queue.crowder(counter.ticket("other")) is None, "one more would have as many"
    assert counter.queue.crowder(counter.ticket("greedy")) is None
    counter.queue.remove(last)
    assert counter.queue.crowder(counter.ticket("modest")) is None, "one each is fair"
    assert {first, other} == set(counter.queue)


def test_a_full_queue_makes_no_room_for_the_less_urgent() -> None:
    counter = _Counter()
    for _ in range(5):
        counter.add("greedy", priority=1)
    assert counter.queue.crowder(counter.ticket("modest")) is None
    assert counter.queue.crowder(counter.ticket("modest", 1)) is not None


def test_keys_of_one_address_make_room_for_each_other_only() -> None:
    counter = _Counter()
    for _ in range(3):
        counter.add("home/a")
    counter.add("away")
    crowder = counter.queue.crowder(counter.ticket("home/b"))
    assert crowder is not None
    assert crowder.client == Client("home", "a")
