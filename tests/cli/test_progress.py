from __future__ import annotations

from collections.abc import Iterator

import pytest

from remuda.cli.progress import Written, display, show_progress
from remuda.cli.replies import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(capsys: pytest.CaptureFixture[str], *events: tuple[float, Progress]) -> list[str]:
    clock = Clock()
    with Written(clock) as written:
        for clock.now, event in events:
            written.update(event)
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


def at(seconds: float, percent: int, digest: str = "a") -> tuple[float, Progress]:
    return seconds, Progress(f"pulling {digest}", digest, 1000, percent * 10)


def test_a_line_every_ten_percent_but_not_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    events = [at(0, 1), at(3, 10), at(3, 11), at(4, 30), at(6, 40), at(6.1, 99), at(6.2, 100), at(6.3, 100)]
    assert lines(capsys, *events) == [f"pulling a: {percent}% of 1 KB" for percent in (1, 11, 40, 100)]


def test_each_transfer_has_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    events = [at(0, 0), at(0, 50, "b"), at(5, 20), at(5, 55, "b"), at(5, 100, "b")]
    assert lines(capsys, *events) == [
        "pulling a: 0% of 1 KB",
        "pulling b: 50% of 1 KB",
        "pulling a: 20% of 1 KB",
        "pulling b: 100% of 1 KB",
    ]


def test_work_without_a_digest_yet_is_told_apart_by_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    events = [Progress(status, "0" * 19, 10, part) for status in ("quantizing", "validating") for part in (0, 10)]
    assert lines(capsys, *((0, event) for event in events)) == [
        "quantizing: 0% of 10 B",
        "quantizing: 100% of 10 B",
        "validating: 0% of 10 B",
        "validating: 100% of 10 B",
    ]


def test_a_status_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    statuses = ["one", "one", "two\x1b[31m", "one"]
    assert lines(capsys, *((0, Progress(status)) for status in statuses)) == ["one", "two[31m", "one"]


def test_odd_numbers_are_shown_as_they_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    events = [Progress("a", "a", 0, 5), Progress("b", "b", 10, 50), Progress("c", "c", 10, -50)]
    assert lines(capsys, *((0, event) for event in events)) == ["a", "b: 100% of 10 B", "c: 0% of 10 B"]


def test_a_stream_is_closed_whatever_happens() -> None:
    closed: list[bool] = []

    def events() -> Iterator[Progress]:
        try:
            yield Progress("one")
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        show_progress(events())
    assert closed == [True]


@pytest.mark.parametrize("term", ["", "dumb", "xterm"])
def test_what_is_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    assert isinstance(display(), Written)
