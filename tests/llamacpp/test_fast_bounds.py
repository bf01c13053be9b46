"""The folder of weights in a faster form: how large it may become, how old its files, and whose they are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from remuda_llamacpp.cache_folder import cut
from remuda_llamacpp.weights.fast import FASTER


def age(path: Path, seconds: float) -> None:
    """Used so long ago; when it was changed says nothing."""
    os.utime(path, (time.time() - seconds, 1_000_000_000))


@pytest.fixture
def three(tmp_path):
    """Files of a thousand bytes, used 100, 200 and 300 seconds ago."""
    files = [tmp_path / f"{letter * 32}.fast.gguf" for letter in "abc"]
    for number, path in enumerate(files, 1):
        path.write_bytes(bytes(1000))
        age(path, 100 * number)
    return files


def test_what_was_used_longest_ago_goes_first(three, tmp_path):
    for most_bytes, most_age, left in ((3000, 1000, 3), (2999, 1000, 2), (3000, 150, 1), (0, 150, 0)):
        cut(tmp_path, FASTER, most_bytes, most_age)
        assert sorted(tmp_path.iterdir()) == three[:left]


def test_strange_files_stay_and_forgotten_temporaries_go(three, tmp_path):
    strange = [tmp_path / name for name in ("notes.txt", "model.gguf", f"{'a' * 31}.fast.gguf", f"{'a' * 32}.state")]
    young, old, done = (tmp_path / f"{letter * 24}.fast.gguf-tmp" for letter in "abc")
    for path in (*strange, young, old, done):
        path.write_bytes(bytes(9000))
        age(path, 9000)
    os.utime(young)
    age(done, 1)  # and as old as its source already
    cut(tmp_path, FASTER, 0, 1)
    assert sorted(tmp_path.iterdir()) == sorted([*strange, young, done])


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        cut(tmp_path / "none", FASTER, 0, 1)
