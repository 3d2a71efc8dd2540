"""The night's window in local time: over midnight, on chosen days, where the clock jumps, and what fits into it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculard.night import Hours, Window, is_open, last_window, next_window, open_until, window_at, window_of
from oculard.settings_night import DAYS, Day, Night

BERLIN, NEW_YORK, TOKYO = "Europe/Berlin", "America/New_York", "Asia/Tokyo"


def moment(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "utc", "zone", "expected"),
    [
        ("20:00", "06:00", "2026-11-20T10:59", TOKYO, False),  # 19:59 there
        ("20:00", "06:00", "2026-11-20T11:00", TOKYO, True),
        ("20:00", "06:00", "2026-11-20T20:59", TOKYO, True),  # 05:59 the next day
        ("20:00", "06:00", "2026-11-20T21:00", TOKYO, False),
        ("01:00", "05:00", "2026-03-29T00:30", BERLIN, True),  # 01:30, half an hour before clocks go forward
        ("01:00", "05:00", "2026-03-29T02:59", BERLIN, True),  # 04:59 summer time
        ("01:00", "05:00", "2026-03-29T03:00", BERLIN, False),
        ("00:00", "00:00", "2026-11-20T03:00", TOKYO, True),  # always
    ],
)
def test_the_window_is_in_local_time(start: str, end: str, utc: str, zone: str, expected: bool) -> None:
    """Over midnight and over the change to summer time."""
    assert is_open(Night(start=start, end=end), moment(utc), zone) is expected


@pytest.mark.parametrize(
    ("start", "end", "day", "zone", "utc"),
    [
        ("20:00", "06:00", "2026-03-28", BERLIN, ("2026-03-28T19:00", "2026-03-29T04:00")),  # nine hours
        ("20:00", "06:00", "2026-10-24", BERLIN, ("2026-10-24T18:00", "2026-10-25T05:00")),  # eleven
        ("20:00", "06:00", "2026-03-07", NEW_YORK, ("2026-03-08T01:00", "2026-03-08T10:00")),
        ("20:00", "06:00", "2026-03-28", TOKYO, ("2026-03-28T11:00", "2026-03-28T21:00")),
        ("20:00", "02:30", "2026-03-28", BERLIN, ("2026-03-28T19:00", "2026-03-29T01:00")),  # its end is skipped
        ("02:30", "06:00", "2026-03-29", BERLIN, ("2026-03-29T01:00", "2026-03-29T04:00")),  # its start is skipped
        ("02:10", "02:50", "2026-03-29", BERLIN, ("2026-03-29T01:00", "2026-03-29T01:40")),  # all of it is skipped
        ("20:00", "02:30", "2026-10-24", BERLIN, ("2026-10-24T18:00", "2026-10-25T00:30")),  # the first of two
        ("02:30", "06:00", "2026-10-25", BERLIN, ("2026-10-25T00:30", "2026-10-25T05:00")),
        ("01:15", "01:45", "2026-11-01", NEW_YORK, ("2026-11-01T05:15", "2026-11-01T05:45")),
        ("20:00", "20:00", "2026-10-24", BERLIN, ("2026-10-24T18:00", "2026-10-25T19:00")),  # a day of 25 hours
    ],
)
def test_a_night_over_a_jump_of_the_clock(start: str, end: str, day: str, zone: str, utc: tuple[str, str]) -> None:
    """A time that is skipped is when the clock has jumped; one that comes twice is the first."""
    window = window_of(Night(start=start, end=end), date.fromisoformat(day), zone)

    assert window == Window(day=date.fromisoformat(day), start=moment(utc[0]), end=moment(utc[1]))


def test_a_night_bears_the_date_on_which_it_begins() -> None:
    """On Saturday morning the night of Friday is open; on Saturday evening none, where only Friday's was chosen."""
    night = Night(days=["fri"], start="20:00", end="06:00")

    friday = window_at(night, moment("2026-11-20T20:00"), TOKYO)  # Saturday, five in the morning
    assert friday is not None
    assert friday.day == date(2026, 11, 20)
    assert window_at(night, moment("2026-11-21T12:00"), TOKYO) is None
    assert window_of(night, date(2026, 11, 21), TOKYO) is None
    assert next_window(night, moment("2026-11-21T12:00"), TOKYO).day == date(2026, 11, 27)
    assert last_window(night, moment("2026-11-27T10:00"), TOKYO) == friday


def test_windows_that_adjoin_are_one_opening() -> None:
    """Always open on three days: what begins at the boundary has time until the last of them ends."""
    night = Night(days=["fri", "sat", "mon"], start="20:00", end="20:00")

    assert open_until(night, moment("2026-11-20T19:59"), "UTC") is None
    assert open_until(night, moment("2026-11-20T20:00"), "UTC") == moment("2026-11-22T20:00")
    assert open_until(night, moment("2026-11-23T20:00"), "UTC") == moment("2026-11-24T20:00")


def test_a_window_cannot_end_before_it_begins() -> None:
    """Such a record is never built."""
    with pytest.raises(ValueError, match="before it begins"):
        Window(day=date(2026, 11, 20), start=moment("2026-11-20T20:00"), end=moment("2026-11-20T20:00"))


CLOCKTIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 45, 59]))
NIGHTS = st.builds(
    Night, days=st.lists(st.sampled_from(DAYS), min_size=1, unique=True), start=CLOCKTIMES, end=CLOCKTIMES
)
JUMPS = [date(2026, 3, 8), date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1), date(2026, 7, 1)]
MOMENTS = st.builds(
    lambda jump, minutes: datetime(jump.year, jump.month, jump.day, tzinfo=UTC) + timedelta(minutes=minutes),
    st.sampled_from(JUMPS),
    st.integers(-4 * 1440, 4 * 1440),
)
ZONES = st.sampled_from([BERLIN, NEW_YORK, TOKYO, "Australia/Lord_Howe", "America/St_Johns"])


@given(night=NIGHTS, jump=st.sampled_from(JUMPS), zone=ZONES)
def test_windows_never_overlap(night: Night, jump: date, zone: str) -> None:
    """Whatever was chosen, also around the days on which the clock jumps."""
    days = (jump + timedelta(days=offset) for offset in range(-9, 10))
    windows = [window for day in days if (window := window_of(night, day, zone)) is not None]

    assert all(one.start < one.end <= other.start < other.end for one, other in pairwise(windows))


@given(night=NIGHTS, now=MOMENTS, zone=ZONES)
def test_an_instant_is_in_the_open_window_and_in_no_other(night: Night, now: datetime, zone: str) -> None:
    """`window_at` gives the one window that holds the moment; the last is over, the next is open or to come."""
    days = (now.date() + timedelta(days=offset) for offset in range(-10, 11))
    windows = [window for day in days if (window := window_of(night, day, zone)) is not None]

    assert window_at(night, now, zone) == next((w for w in windows if w.start <= now < w.end), None)
    assert next_window(night, now, zone) == min((w for w in windows if w.end > now), key=lambda w: w.start)
    assert last_window(night, now, zone) == max((w for w in windows if w.end <= now), key=lambda w: w.start)
    assert last_window(night, now, zone).end <= next_window(night, now, zone).start
    assert is_open(night, now, zone) is (open_until(night, now, zone) is not None)


@pytest.mark.parametrize("day", DAYS)
def test_one_night_a_week_is_always_found(day: Day) -> None:
    """From every day of the week the last and the next are a week apart at most."""
    night = Night(days=[day], start="20:00", end="06:00")
    for offset in range(7):
        now = moment("2026-11-16T12:00") + timedelta(days=offset)
        gap = next_window(night, now, TOKYO).start - last_window(night, now, TOKYO).start

        assert gap == timedelta(days=7)


def test_as_many_jobs_fit_as_end_in_time() -> None:
    """One after another; what was never measured takes what the settings say; nothing fits when it is closed."""
    now = moment("2026-11-20T12:00")
    hours = Hours(until=now + timedelta(seconds=100), expected_s={"faz@1": 40.0, "slow@1": 101.0}, first_s=100.0)

    assert [hours.fitting(name, now) for name in ("faz@1", "slow@1", "new@1")] == [2, 0, 1]
    assert hours.fitting("faz@1", now + timedelta(seconds=61)) == 0
    assert hours.fitting("faz@1", now + timedelta(days=1)) == 0
    assert Hours(until=None, expected_s={}, first_s=1.0).fitting("faz@1", now) == 0
    with pytest.raises(ValueError, match="some time"):
        Hours(until=None, expected_s={"faz@1": 0.0}, first_s=1.0)
