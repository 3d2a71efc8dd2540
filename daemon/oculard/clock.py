"""Time, behind one small door, so that a test can own it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Protocol


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

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def running(self) -> bool:
        return not self._stopping.is_set()
