"""What is kept of a download that was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from remuda.model.transfer.parts import Bounds, Part, PartialFile

_BOUNDS = Bounds(smallest=100, largest=1000)


def _claim(path: Path, size: int, bounds: Bounds = _BOUNDS) -> PartialFile:
    file = PartialFile.claim(path, size, bounds)
    assert file is not None
    return file


def _covers(parts: list[Part], size: int) -> bool:
    """Every byte once, in order, each part under a number of its own."""
    ends = [0, *(part.end for part in parts)]
    return (
        [part.offset for part in parts] == ends[:-1]
        and ends[-1] == size
        and len({part.n for part in parts}) == len(parts)
    )


@pytest.mark.parametrize(
    ("size", "count", "largest"),
    [(0, 0, 0), (1, 1, 1), (100, 1, 100), (101, 2, 100), (1600, 16, 100), (3200, 16, 200), (32_000, 32, 1000)],
)
def test_the_size_of_parts(tmp_path: Path, size: int, count: int, largest: int) -> None:
    file = _claim(tmp_path / "partial", size)
    assert len(file.parts) == count
    assert max((part.size for part in file.parts), default=0) == largest
    assert _covers(file.parts, size)
    assert (tmp_path / "partial").stat().st_size == size
    file.close()


def test_the_sizes_of_the_protocol() -> None:
    assert Bounds() == Bounds(smallest=100_000_000, largest=1_000_000_000)


def test_a_blob_of_any_size_has_a_bounded_number_of_parts(tmp_path: Path) -> None:
    file = _claim(tmp_path / "partial", 2**42)
    assert len(file.parts) <= 4096
    assert _covers(file.parts, 2**42)
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "partial"
    file = _claim(path, 250)
    file.write(file.parts[1], b"x" * 30)
    file.write(file.parts[1], b"y" * 10)
    file.write(file.parts[2], b"z" * 50)
    file.save()
    file.write(file.parts[0], b"never noted")
    file.close()
    assert json.loads((tmp_path / "partial-1").read_text()) == {"N": 1, "Offset": 100, "Size": 100, "Completed": 40}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["partial", "partial-1", "partial-2"]
    again = _claim(path, 250)
    assert [part.completed for part in again.parts] == [0, 40, 50]
    assert path.read_bytes()[100:141] == b"x" * 30 + b"y" * 10 + b"\0"
    again.forget()
    assert [each.name for each in tmp_path.iterdir()] == ["partial"]
    again.close()


def test_parts_that_another_program_made_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(b"a" * 1000)
    for n, offset, size, completed in ((0, 0, 300, 300), (1, 300, 300, 10), (7, 900, 100, 99)):
        state = {"N": n, "Offset": offset, "Size": size, "Completed": completed}
        (tmp_path / f"partial-{n}").write_text(json.dumps(state))
    file = _claim(tmp_path / "partial", 1000)
    assert _covers(file.parts, 1000)
    assert [part.completed for part in file.parts if part.completed] == [300, 10, 99]
    assert sum(part.size for part in file.parts if not part.completed) == 300
    file.close()


def test_another_size_is_another_file(tmp_path: Path) -> None:
    file = _claim(tmp_path / "partial", 250)
    file.write(file.parts[0], b"x" * 100)
    file.save()
    file.close()
    other = _claim(tmp_path / "partial", 300)
    assert not any(part.completed for part in other.parts)
    assert (tmp_path / "partial").read_bytes() == bytes(300)
    assert [each.name for each in tmp_path.iterdir()] == ["partial"]
    other.close()


@settings(max_examples=50, deadline=None)
@given(
    states=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.fixed_dictionaries(
                {key: st.integers(-2, 600) | st.just(2**70) for key in ("N", "Offset", "Size", "Completed")}
            ),
        ),
        max_size=6,
    )
)
def test_no_note_is_too_odd(tmp_path_factory: pytest.TempPathFactory, states: list[bytes | dict[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "partial").write_bytes(bytes(500))
    for n, state in enumerate(states):
        number = state["N"] if isinstance(state, dict) else n
        data = json.dumps(state).encode() if isinstance(state, dict) else state
        (folder / f"partial-{number}").write_bytes(data)
    file = _claim(folder / "partial", 500)
    assert _covers(file.parts, 500)
    assert all(0 <= part.completed <= part.size for part in file.parts)
    file.close()


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "partial"
    file = _claim(path, 250)
    assert PartialFile.claim(path, 250, _BOUNDS) is None
    file.share()
    assert PartialFile.claim(path, 250, _BOUNDS) is None
    file.close()
    _claim(path, 250).close()


def test_whoever_waited_does_not_write_into_what_became_a_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "partial"
    _claim(path, 10).close()
    from remuda.model.transfer import parts

    locked = parts.lock

    def slow(descriptor: int, operation: int) -> None:
        path.rename(tmp_path / "blob")
        locked(descriptor, operation)

    monkeypatch.setattr(parts, "lock", slow)
    assert PartialFile.claim(path, 10, _BOUNDS) is None
