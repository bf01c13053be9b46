"""States of sequences on disk: files that are not what they should be."""

from __future__ import annotations

import os

import pytest
from saving import KIB, files, state, store, tokens


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


def _flip(at):
    def flip(path):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    return flip


def _replace(content):
    return lambda path: path.write_bytes(content)


def _link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _huge(path):
    os.truncate(path, 2**40)


_DAMAGE = {
    "cut short": _cut_short,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "state": _flip(-5),
    "token": _flip(-KIB - 5),
    "magic": _flip(0),
    "version": _flip(8),
    "length": _flip(11),
    "header": _flip(20),
    "empty": _replace(b""),
    "foreign": _replace(b"a letter to a friend\n" * 100),
    "many tokens": _replace(b"rmdstate\1\0\x0b\0" + b"\x95\xc4\0\xc4\0\xce\x7f\xff\xff\xff\1"),
    "link": _link,
    "pipe": _pipe,
    "huge": _huge,
}


@pytest.mark.parametrize("damage", _DAMAGE.values(), ids=_DAMAGE)
def test_a_damaged_file_is_removed(saved, make, folder, damage):
    store(saved, tokens(1, 2, 3), state(1))
    found = saved.find(tokens(1, 2, 3), 0)
    damage(found.path)
    assert saved.read(found) is None
    assert not os.path.lexists(found.path)
    assert saved.find(tokens(1, 2, 3), 0) is None


@pytest.mark.parametrize("damage", [kind for kind in _DAMAGE if kind != "state"])
def test_a_file_that_is_damaged_already_is_removed_when_it_is_met(saved, make, folder, damage):
    store(saved, tokens(1, 2, 3), state(1))
    (path,) = files(folder)
    _DAMAGE[damage](path)
    assert make().find(tokens(1, 2, 3), 0) is None
    assert not os.path.lexists(path)


def test_what_a_link_leads_to_is_left_alone(saved, folder):
    store(saved, tokens(1), state(1))
    found = saved.find(tokens(1), 0)
    _link(found.path)
    assert saved.read(found) is None
    assert (folder / "elsewhere").stat().st_size > KIB


def test_another_file_under_its_name_is_not_taken_for_it(make, folder):
    saved = make()
    store(saved, tokens(1), state(1))
    store(saved, tokens(2), state(2))
    found = saved.find(tokens(1), 0)
    found.path.write_bytes(saved.find(tokens(2), 0).path.read_bytes())
    assert make().find(tokens(1), 0) is None
    assert not found.path.exists()


def test_what_another_user_has_written_is_neither_taken_nor_removed(saved, folder, monkeypatch):
    store(saved, tokens(1), state(1))
    found = saved.find(tokens(1), 0)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert saved.read(found) is None
    assert found.path.exists()


def test_a_file_that_has_gone_is_nothing_to_talk_about(saved, caplog):
    store(saved, tokens(1), state(1))
    found = saved.find(tokens(1), 0)
    found.path.unlink()
    assert saved.read(found) is None
    assert not caplog.records
