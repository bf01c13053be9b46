"""States of sequences on disk: sizes and ages, disks that refuse, and who may look."""

from __future__ import annotations

import logging
import resource
import stat

from saving import KIB, age, files, state, store, tokens

from remuda_llamacpp.saved import states

# --- bounds ---


def test_what_was_used_longest_ago_goes_first_whoever_stored_it(make, folder):
    other, saved = make("other"), make(most_bytes=4 * KIB)
    store(other, tokens(1), state(1))
    age(files(folder)[0], 300)
    for number in 2, 3:
        store(saved, tokens(number), state(number))
    age(saved.find(tokens(2), 0).path, 200)
    age(saved.find(tokens(3), 0).path, 100)
    assert saved.read(saved.find(tokens(2), 0)) is not None, "it is the youngest now"
    store(saved, tokens(4), state(4))
    assert other.find(tokens(1), 0) is None
    store(saved, tokens(5), state(5))
    assert [number for number in (2, 3, 4, 5) if saved.find(tokens(number), 0)] == [2, 4, 5]
    assert sum(path.stat().st_size for path in files(folder)) <= 4 * KIB


def test_the_bounds_are_kept_from_the_beginning(make, folder):
    saved = make()
    for number in range(4):
        store(saved, tokens(number), state(number))
        age(saved.find(tokens(number), 0).path, 400 - 100 * number)
    assert [number for number in range(4) if make(most_age=350).find(tokens(number), 0)] == [1, 2, 3]
    assert [number for number in range(4) if make(most_bytes=3 * KIB).find(tokens(number), 0)] == [2, 3]
    make(most_bytes=0)
    assert not files(folder)


def test_a_file_larger_than_the_bound_is_not_read(make):
    small, large = make(most_bytes=2 * KIB), make()
    store(large, tokens(1), state(1, 10 * KIB))
    assert small.read(large.find(tokens(1), 0)) is None
    store(large, tokens(2), state(2, 10 * KIB))
    assert small.find(tokens(2), 0) is None


def test_forgotten_temporaries_go_and_strange_files_stay(make, folder):
    folder.mkdir(parents=True)
    strange = [folder / name for name in ("notes.txt", "model.state", f"{'0' * 24}.state-tmp.bak")]
    young, old = folder / f"{'a' * 24}.state-tmp", folder / f"{'b' * 24}.state-tmp"
    for path in (*strange, young, old):
        path.write_bytes(bytes(9 * KIB))
    for path in (*strange, old):
        age(path, 4000)
    make(most_bytes=2 * KIB, most_age=1)
    assert sorted(folder.iterdir()) == sorted([*strange, young])


# --- disks that refuse ---


def test_a_full_disk_is_told_of_once_and_leaves_nothing_behind(saved, folder, caplog):
    caplog.set_level(logging.WARNING, "remuda_llamacpp")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 * KIB, hard))
    try:
        for number in 1, 2:
            store(saved, tokens(number), state(number, 200 * KIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(folder.iterdir())
    assert [record.getMessage() for record in caplog.records] == [
        "a state could not be saved: [Errno 27] File too large"
    ]
    assert saved.find(tokens(1), 0) is None
    store(saved, tokens(1), state(1, 200 * KIB))
    assert saved.find(tokens(1), 0)


def test_a_shorter_state_stays_when_the_longer_one_cannot_be_written(saved, monkeypatch):
    store(saved, tokens(1), state(1))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(states, "write_state", full)
        store(saved, tokens(1, 2), state(2))
    assert saved.find(tokens(1, 2), 0).tokens == 1


def test_a_folder_that_vanishes_is_made_again(saved, folder):
    store(saved, tokens(1), state(1))
    found = saved.find(tokens(1), 0)
    found.path.unlink()
    folder.rmdir()
    assert saved.find(tokens(1), 0) is None
    assert saved.read(found) is None
    store(saved, tokens(1), state(1))
    assert saved.find(tokens(1), 0)


def test_a_folder_that_cannot_be_made_holds_nothing(make, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    saved = make(at=tmp_path / "file" / "states")
    store(saved, tokens(1), state(1))
    assert saved.find(tokens(1), 0) is None
    assert caplog.records
    assert str(tmp_path) not in caplog.text


def test_the_folder_and_its_files_are_for_their_owner_only(saved, folder):
    store(saved, tokens(1), state(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_names_tell_nothing_of_what_is_inside(make, folder):
    saved = make("smollm")
    store(saved, tokens(1), state(1), "alice")
    (path,) = files(folder)
    assert "smollm" not in path.name
    assert b"alice" not in path.read_bytes()
