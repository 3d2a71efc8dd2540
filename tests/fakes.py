"""Fakes that we wrote: time and dice that a test owns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any


class FakeClock:
    """A clock that moves only when a test says so; sleeping moves it."""

    def __init__(self, at: datetime = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)) -> None:
        self.at = at

    def now(self) -> datetime:
        """The time that the test has set."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Let that time pass."""
        self.pass_(seconds)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


class UnheardRoles:
    """Heartbeats that nobody hears."""

    def beat(self, name: str, role: str, says: dict[str, Any]) -> None: ...

    def forget(self, name: str) -> None: ...
