"""The night: whether its window is open. Pure; daylight saving and midnight are the time zone's business."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

from oculard.settings_night import Night


def is_open(night: Night, now: datetime, time_zone: str) -> bool:
    """Whether the window is open at an aware moment. Equal start and end mean always."""
    local = now.astimezone(ZoneInfo(time_zone)).time()
    start, end = time.fromisoformat(night.start), time.fromisoformat(night.end)
    if start == end:
        return True
    if start < end:
        return start <= local < end
    return local >= start or local < end
