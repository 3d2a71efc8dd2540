"""Time, behind one small door, so that a test can own it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

SET_BACK = timedelta(seconds=60)  # less than that only makes somebody wait a minute longer
ASTRAY = timedelta(minutes=10)  # what was written so far ahead of us was written before the clock was set back


class Clock(Protocol):
    """What the program may ask of time."""

    def now(self) -> datetime:
        """The time now, aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait that long, or shorter when the program is asked to stop."""


class SystemClock:
    """The machine's own clock; `stop` wakes every sleeper."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self.began = self.now()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def running(self) -> bool:
        return not self._stopping.is_set()


@dataclass(slots=True)
class Hands:
    """A clock's hands as they were seen last: they tell when somebody sets it back."""

    clock: Clock
    seen: datetime

    def were_set_back(self) -> bool:
        """Whether they were, far, since the last look."""
        then, self.seen = self.seen, self.clock.now()
        return then - self.seen > SET_BACK
