"""The night: when its window opens and closes. Pure; daylight saving and midnight are the time zone's business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from oculard.settings_night import DAYS, Night

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LOOK_DAYS = 9  # of a weekly rhythm; two windows of one day touch two dates
JUMP_MAX_MIN = 26 * 60  # the longest that a clock has ever jumped: a whole day


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One night, from its start up to its end."""

    day: date  # the local date on which it begins: the night's name
    start: datetime  # UTC
    end: datetime  # UTC

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"the night of {self.day} ends at {self.end}, before it begins at {self.start}")

    def holds(self, now: datetime) -> bool:
        """Whether the moment is inside."""
        return self.start <= now < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Until when night jobs may run, and how long one is expected to take."""

    until: datetime | None  # None: the window is closed
    expected_s: Mapping[str, float]  # by estimator, as measured here
    first_s: float  # of an estimator that has not been measured

    def __post_init__(self) -> None:
        if min((self.first_s, *self.expected_s.values())) <= 0:
            raise ValueError("a job takes some time")

    def fitting(self, estimator: str, now: datetime) -> int:
        """How many of its jobs, done one after another from now on, are expected to end before the window does."""
        if self.until is None or self.until <= now:
            return 0
        return int((self.until - now).total_seconds() // self.expected_s.get(estimator, self.first_s))

    def after(self, estimator: str, jobs: int) -> Hours:
        """The hours of what comes after so many jobs of an estimator: they take their time off the window's end."""
        if self.until is None:
            return self
        taken = timedelta(seconds=jobs * self.expected_s.get(estimator, self.first_s))
        return replace(self, until=self.until - taken)


def is_open(night: Night, now: datetime, time_zone: str) -> bool:
    """Whether the window is open at an aware moment."""
    return window_at(night, now, time_zone) is not None


def window_at(night: Night, now: datetime, time_zone: str) -> Window | None:
    """The window that is open now."""
    return next((window for window in _around(night, now, time_zone, -2, 1) if window.holds(now)), None)


def next_window(night: Night, now: datetime, time_zone: str) -> Window:
    """The window that is open now, else the next to come."""
    return next(window for window in _around(night, now, time_zone, -2, LOOK_DAYS) if now < window.end)


def last_window(night: Night, now: datetime, time_zone: str) -> Window:
    """The newest window that is over."""
    return max((window for window in _around(night, now, time_zone, -LOOK_DAYS, 1) if window.end <= now), key=_end)


def window_of(night: Night, day: date, time_zone: str) -> Window | None:
    """The night that is named by this local date; None when no night begins on it."""
    if DAYS[day.weekday()] not in night.days:
        return None
    zone, begins, ends = ZoneInfo(time_zone), time.fromisoformat(night.start), time.fromisoformat(night.end)
    length = (datetime.combine(day, ends) - datetime.combine(day, begins)) % DAY or DAY
    start = _instant(datetime.combine(day, begins), zone)
    end = _instant(datetime.combine(day, begins) + length, zone)
    return Window(day=day, start=start, end=end if end > start else start + length)  # the clock jumped over all of it


def open_until(night: Night, now: datetime, time_zone: str) -> datetime | None:
    """When the open window closes; a night that follows at once keeps it open. None when it is closed."""
    until = None
    for window in _around(night, now, time_zone, -2, LOOK_DAYS):
        if window.holds(until or now):
            until = window.end
    return until


def _around(night: Night, now: datetime, time_zone: str, first: int, last: int) -> Iterator[Window]:
    """The windows of some days before and after now, in order."""
    today = now.astimezone(ZoneInfo(time_zone)).date()
    for offset in range(first, last + 1):
        window = window_of(night, today + offset * DAY, time_zone)
        if window is not None:
            yield window


def _end(window: Window) -> datetime:
    return window.end


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """When the clock shows this: of two moments the first; of a time that is skipped, when the clock has jumped."""
    for _ in range(JUMP_MAX_MIN):
        moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == local:
            return moment
        local += MINUTE
    raise ValueError(f"the clock of {zone.key} never shows {local}")
