"""The night's window in local time."""

from datetime import UTC, datetime

import pytest

from oculard.night import is_open
from oculard.settings_night import Night


@pytest.mark.parametrize(
    ("start", "end", "utc", "zone", "expected"),
    [
        ("20:00", "06:00", "2026-11-20T10:59", "Asia/Tokyo", False),  # 19:59 there
        ("20:00", "06:00", "2026-11-20T11:00", "Asia/Tokyo", True),
        ("20:00", "06:00", "2026-11-20T20:59", "Asia/Tokyo", True),  # 05:59 the next day
        ("20:00", "06:00", "2026-11-20T21:00", "Asia/Tokyo", False),
        ("01:00", "05:00", "2026-03-29T00:30", "Europe/Berlin", True),  # 01:30, half an hour before clocks go forward
        ("01:00", "05:00", "2026-03-29T02:59", "Europe/Berlin", True),  # 04:59 summer time
        ("01:00", "05:00", "2026-03-29T03:00", "Europe/Berlin", False),
        ("00:00", "00:00", "2026-11-20T03:00", "Asia/Tokyo", True),  # always
    ],
)
def test_the_window_is_in_local_time(start: str, end: str, utc: str, zone: str, expected: bool) -> None:
    """Over midnight and over the change to summer time."""
    now = datetime.fromisoformat(utc).replace(tzinfo=UTC)

    assert is_open(Night(start=start, end=end), now, zone) is expected
