from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from remuda.cli.humanize import human_duration, human_size, human_time, processor, short_duration

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (1500, "1.5 KB"),
        (9_990, "10.0 KB"),
        (10_900, "10 KB"),
        (98_300_000, "98 MB"),
        (2_019_393_189, "2.0 GB"),
        (2_000_000_000, "2 GB"),
        (1_200_000_000_000, "1.2 TB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)
def test_sizes_are_decimal(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (0.9, "Less than a second"),
        (1.9, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (HOUR - 1, "59 minutes"),
        (HOUR, "About an hour"),
        (1.6 * HOUR, "2 hours"),
        (47.4 * HOUR, "47 hours"),
        (48 * HOUR, "2 days"),
        (13.9 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59.9 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        ("0001-01-01T00:00:00Z", "Never"),
        ((NOW - timedelta(days=3)).isoformat(), "3 days ago"),
        ((NOW + timedelta(minutes=5)).isoformat(), "5 minutes from now"),
        ("2026-03-04T06:05:00.123456789+01:00", "About a minute ago"),
        ("2318-03-04T05:06:07Z", "Forever"),
    ],
)
def test_times_seen_from_now(stamp: str, text: str) -> None:
    assert human_time(stamp, NOW) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (950, "950ns"),
        (1_500, "1.5µs"),
        (12_500_000, "12.5ms"),
        (3_250_000_000, "3.25s"),
        (62_500_000_000, "1m2.5s"),
        (3_601_000_000_000, "1h0m1s"),
        (1_000_000_001, "1.000000001s"),
    ],
)
def test_exact_durations(nanoseconds: int, text: str) -> None:
    assert short_duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("size", "vram", "text"),
    [
        (100, 0, "100% CPU"),
        (100, 100, "100% GPU"),
        (100, 40, "60%/40% CPU/GPU"),
        (1000, 335, "67%/33% CPU/GPU"),
        (100, 101, "Unknown"),
        (0, 1, "Unknown"),
    ],
)
def test_processor(size: int, vram: int, text: str) -> None:
    assert processor(size, vram) == text
