"""States of sequences on disk: finding, reading and offering them. No engine is needed: a state is bytes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings, strategies as st
from saving import KIB, WAIT, Stores, age, files, state, store, tokens

from remuda_llamacpp.saved import index, states

# --- finding and reading ---


def test_what_was_stored_is_found_and_read(saved, folder):
    content = state(1)
    store(saved, tokens(1, 2, 3), content)
    found = saved.find(tokens(1, 2, 3, 4), 0)
    assert (found.tokens, found.shared, [found.path]) == (3, 3, files(folder))
    np.testing.assert_array_equal(saved.read(found), content)


def test_it_is_there_after_a_restart(make):
    first = make()
    store(first, tokens(1, 2, 3), state(1))
    first.close(WAIT)
    again = make()
    np.testing.assert_array_equal(again.read(again.find(tokens(1, 2, 3), 0)), state(1))


def test_a_large_state_comes_back_whole(make):
    saved = make(most_bytes=2**23)
    content = state(1, 5_000_001)
    store(saved, tokens(*range(5000)), content)
    np.testing.assert_array_equal(saved.read(saved.find(tokens(*range(5000)), 0)), content)


def test_nothing_is_found_where_nothing_is_shared(saved):
    assert saved.find(tokens(1, 2), 0) is None
    store(saved, tokens(1, 2), state(1))
    assert saved.find(tokens(2, 1), 0) is None
    assert saved.find(tokens(), 0) is None


def test_the_longest_prefix_wins_and_of_equals_the_shortest_state(saved):
    store(saved, tokens(1, 2, 3, 9, 9, 9), state(1))
    store(saved, tokens(1, 2, 4), state(2))
    store(saved, tokens(1, 2, 3, 8), state(3))
    found = saved.find(tokens(1, 2, 3, 4), 0)
    assert (found.tokens, found.shared) == (4, 3)
    np.testing.assert_array_equal(saved.read(found), state(3))
    assert saved.find(tokens(1, 2, 3, 9), 0).tokens == 6
    assert saved.find(tokens(1), 0).tokens == 3


def test_only_what_shares_more_than_over_is_found(saved):
    store(saved, tokens(1, 2, 3), state(1))
    assert saved.find(tokens(1, 2, 7), 1).shared == 2
    assert saved.find(tokens(1, 2, 7), 2) is None


def test_namespaces_and_models_are_apart(make):
    one, other = make("one"), make("other")
    store(one, tokens(1, 2), state(1))
    store(one, tokens(1, 2), state(2), "alice")
    store(other, tokens(1, 2), state(3))
    for who, namespace, seed in (one, "", 1), (one, "alice", 2), (other, "", 3):
        np.testing.assert_array_equal(who.read(who.find(tokens(1, 2), 0, namespace)), state(seed))
    assert one.find(tokens(1, 2), 0, "bob") is None
    assert other.find(tokens(1, 2), 0, "alice") is None


def test_two_processes_see_what_the_other_stored_and_removed(make, folder):
    one, other = make(), make()
    store(one, tokens(1, 2), state(1))
    np.testing.assert_array_equal(other.read(other.find(tokens(1, 2), 0)), state(1))
    store(other, tokens(1, 2, 3), state(2))
    assert one.find(tokens(1, 2, 3), 0).shared == 3
    files(folder)[0].unlink()
    assert one.find(tokens(1, 2), 0) is None


def test_a_folder_that_does_not_change_is_not_listed_again(saved, folder, monkeypatch):
    store(saved, tokens(1, 2), state(1))
    age(folder, 60)
    assert saved.find(tokens(1, 2), 0)
    monkeypatch.setattr(os, "scandir", _never)
    assert saved.find(tokens(1, 2), 0)


def test_two_changes_at_one_time_of_a_clock_that_stands_still_are_both_seen(make, folder, monkeypatch):
    monkeypatch.setattr(index, "_TICK_NS", 60 * 10**9)
    saved, other = make(), make()
    store(other, tokens(1), state(1))
    seen = folder.stat().st_mtime_ns
    assert saved.find(tokens(1), 0)
    store(other, tokens(2), state(2))
    os.utime(folder, ns=(seen, seen))
    assert saved.find(tokens(2), 0)


def _never(*_arguments):
    raise AssertionError("called")


_TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(_TOKENS, st.sampled_from(["", "alice"])), max_size=7), st.lists(_TOKENS, min_size=1), st.data()
)
def test_find_is_what_looking_at_each_of_them_finds(offered, asked, data):
    with TemporaryDirectory() as folder, Stores(Path(folder)) as make:
        saved = make()
        for at, (numbers, namespace) in enumerate(offered):
            covered = any(name == namespace and _shared(numbers, one) == len(numbers) for one, name in offered[:at])
            assert saved.offer(tokens(*numbers), state(1, 8), namespace) is not covered
            assert saved.flush(WAIT)
        if data.draw(st.booleans(), label="restart"):
            saved = make()
        own = [numbers for numbers, namespace in offered if namespace == ""]
        kept = [one for one in own if not any(len(one) < len(each) and _shared(one, each) == len(one) for each in own)]
        for numbers in asked:
            over = data.draw(st.integers(0, 4), label="over")
            most = max((_shared(numbers, one) for one in kept), default=0)
            found = saved.find(tokens(*numbers), over)
            if most <= over:
                assert found is None
            else:
                assert found.shared == most
                assert found.tokens == min(len(one) for one in kept if _shared(numbers, one) == most)


def _shared(one, other):
    same = [a == b for a, b in zip(one, other, strict=False)]
    return (*same, False).index(False)


# --- offering ---


def test_what_a_stored_state_covers_is_not_taken(saved, folder):
    store(saved, tokens(1, 2, 3), state(1))
    age(files(folder)[0], 1000)
    assert not saved.wants(tokens(1, 2, 3), KIB)
    assert not saved.offer(tokens(1, 2), state(2))
    assert files(folder)[0].stat().st_mtime > time.time() - 900, "it was not used"
    assert saved.wants(tokens(1, 3), KIB)
    assert saved.wants(tokens(1, 2), KIB, "alice")


def test_a_covering_state_that_has_gone_covers_nothing(saved, folder, monkeypatch):
    store(saved, tokens(1, 2, 3), state(1))
    assert not saved.wants(tokens(1, 2), KIB)
    files(folder)[0].unlink()
    monkeypatch.setattr(saved._index, "refresh", lambda: None)  # it goes just after the folder was looked at
    assert saved.offer(tokens(1, 2), state(1))


def test_a_longer_state_takes_the_place_of_shorter_ones(saved, folder):
    store(saved, tokens(1, 2), state(1))
    store(saved, tokens(1, 2), state(1), "alice")
    store(saved, tokens(1, 7), state(2))
    store(saved, tokens(1, 2, 3), state(3))
    assert len(files(folder)) == 3
    np.testing.assert_array_equal(saved.read(saved.find(tokens(1, 2), 0)), state(3))
    assert saved.find(tokens(1, 7), 0).shared == 2
    assert saved.find(tokens(1, 2), 0, "alice").tokens == 2


def test_what_is_too_large_or_empty_is_not_taken(make, folder):
    saved = make(most_bytes=4 * KIB)
    assert not saved.offer(tokens(1), state(1, 4 * KIB))
    assert not saved.offer(tokens(*range(KIB)), state(1, 10))
    assert not saved.offer(tokens(), state(1))
    assert not saved.offer(tokens(1), state(1, 0))
    assert saved.offer(tokens(1), state(1, 3 * KIB))
    assert saved.flush(WAIT)
    assert len(files(folder)) == 1


def test_a_writer_that_is_behind_takes_no_more(saved, folder, monkeypatch):
    begun, go, write = threading.Event(), threading.Event(), states.write_state

    def slow(*arguments):
        begun.set()
        assert go.wait(WAIT)
        write(*arguments)

    monkeypatch.setattr(states, "write_state", slow)
    assert saved.offer(tokens(1, 2), state(1))
    assert begun.wait(WAIT)
    assert not saved.wants(tokens(1), KIB), "covered by the one that is being written"
    assert saved.offer(tokens(1, 2, 3), state(2))
    assert not saved.wants(tokens(5), KIB)
    assert not saved.offer(tokens(5), state(3))
    assert not saved.flush(0)
    go.set()
    assert saved.flush(WAIT)
    (path,) = files(folder)
    assert saved.find(tokens(1, 2, 3), 0).path == path, "the shorter one was replaced, though it was not stored yet"
    assert saved.offer(tokens(5), state(3))


def test_closing_writes_what_was_taken_and_ends_the_thread(saved, folder):
    assert saved.offer(tokens(1), state(1))
    assert saved.offer(tokens(2), state(2))
    saved.close(WAIT)
    assert len(files(folder)) == 2
    assert all(thread.name != "saved-states" for thread in threading.enumerate())
    assert not saved.offer(tokens(3), state(3))
