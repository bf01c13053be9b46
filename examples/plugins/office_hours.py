"""Keeps models in memory while people work, and lets them go soon at other times: the policy "office-hours".

    [residency]
    policy = "office-hours"

    [plugins.settings.office_hours]
    opens = "08:00"
    closes = "18:30"
    days = ["mon", "tue", "wed", "thu", "fri"]
    otherwise = 60

Times are the server's own. What a request asks for with `keep_alive` is granted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from remuda import Usage, hookimpl
from remuda.hookspecs import ReadSettings

POLICY: Final = "office-hours"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Time = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    opens: Time = "08:00"
    closes: Time = "18:00"
    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
    otherwise: Annotated[float, Meta(ge=0)] = 60.0
    """Seconds that a model stays after hours."""

    def __post_init__(self) -> None:
        if self.opens >= self.closes:
            raise ValueError(f"closes is {self.closes}, and must be later than opens, {self.opens}")


def local_now() -> datetime:
    return datetime.now().astimezone()


class OfficeHours:
    """`now` tells the time, here and in tests."""

    def __init__(self, settings: Settings, now: Callable[[], datetime] = local_now) -> None:
        self._settings, self._now = settings, now

    def seconds(self, default: float) -> float:
        """Until closing time, or `otherwise` if nobody works; never less than `default` during hours."""
        now, settings = self._now(), self._settings
        closes = datetime.combine(now.date(), time.fromisoformat(settings.closes), now.tzinfo)
        working = _DAYS[now.weekday()] in settings.days and settings.opens <= f"{now:%H:%M}" < settings.closes
        return max((closes - now).total_seconds(), default) if working else settings.otherwise


_hours = [OfficeHours(Settings())]


@hookimpl
def remuda_configure(settings: ReadSettings) -> None:
    _hours[:] = [OfficeHours(settings(Settings))]


@hookimpl
def remuda_keep_alive(usage: Usage) -> float | None:
    if usage.policy != POLICY:
        return None
    return _hours[0].seconds(usage.default) if usage.asked is None else usage.asked
