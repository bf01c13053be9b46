"""Sizes, times and durations as the reference's command line writes them (Ollama API, "CLI")."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["human_duration", "human_size", "human_time", "processor", "short_duration"]

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))
_NANOS = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))
_HOUR = 3600
_DAY = 24
_YEAR = 365 * _DAY


def human_size(size: int) -> str:
    """Decimal units: `999 B`, `1.5 KB`, `98 MB`; a decimal only below ten and only if there is one."""
    for factor, unit in _UNITS:
        if size >= factor:
            value = size / factor
            text = f"{value:.1f}" if value < 10 and value != int(value) else f"{int(value)}"
            return f"{text} {unit}"
    return f"{size} B"


def human_duration(seconds: float) -> str:
    """Roughly, in words: `Less than a second`, `About a minute`, `3 weeks`."""
    whole, minutes, hours = int(seconds), int(seconds / 60), int(seconds / _HOUR + 0.5)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 2 * _DAY, f"{hours} hours"),
        (hours < 14 * _DAY, f"{hours // _DAY} days"),
        (hours < 60 * _DAY, f"{hours // _DAY // 7} weeks"),
        (hours < 2 * _YEAR, f"{hours // _DAY // 30} months"),
    )
    return next((text for applies, text in steps if applies), f"{int(seconds / _HOUR) // _YEAR} years")


def human_time(stamp: str, now: datetime | None = None) -> str:
    """An RFC 3339 time as the server sends it, seen from now: `2 days ago`, `4 minutes from now`, `Forever`."""
    moment = datetime.fromisoformat(stamp)
    if moment.year == 1:  # the protocol's "no time"; its offset must not be applied, there is no year 0
        return "Never"
    ahead = (moment - (now or datetime.now(UTC))).total_seconds()
    if ahead / _HOUR / _YEAR > 20:
        return "Forever"
    return f"{human_duration(ahead)} from now" if ahead > 0 else f"{human_duration(-ahead)} ago"


def short_duration(nanoseconds: int) -> str:
    """Exactly, in the largest fitting unit: `950ns`, `12.5ms`, `3.25s`, `1m2.5s`, `1h0m1s`."""
    if nanoseconds >= 60 * 10**9:
        minutes, rest = divmod(nanoseconds, 60 * 10**9)
        hours, minutes = divmod(minutes, 60)
        seconds = f"{_trimmed(rest, 10**9)}s"
        return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"
    for factor, unit in _NANOS:
        if nanoseconds >= factor:
            return f"{_trimmed(nanoseconds, factor)}{unit}"
    return "0s"


def processor(size: int, vram: int) -> str:
    """Where a loaded model lies, in percent of its bytes."""
    if vram == 0:
        return "100% CPU"
    if size == 0 or vram > size:
        return "Unknown"
    if vram == size:
        return "100% GPU"
    share = int((size - vram) / size * 100 + 0.5)
    return f"{share}%/{100 - share}% CPU/GPU"


def _trimmed(value: int, factor: int) -> str:
    whole, rest = divmod(value, factor)
    digits = f"{rest:0{len(str(factor)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else f"{whole}"
