"""The night's chores: jobs that wait for it may run while its window is open, and wait again when it has closed.

A job that runs is left to end. After a power cut the rest of the window is used; a window that closed while nobody
was here is closed at the next start.
"""

from __future__ import annotations

from dataclasses import dataclass

from oculard import log
from oculard.clock import Clock
from oculard.night import window_at
from oculard.settings_night import Night
from oculard.store.night_jobs import NightJobs
from oculard.upkeep.clockwork import Chore

logger = log.get("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class NightWatch:
    """Opens and closes the night; each chore is safe to do at any time and any number of times."""

    night: Night
    time_zone: str
    jobs: NightJobs
    clock: Clock

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [Chore(do=self.open_night, every_s=15), Chore(do=self.close_night, every_s=15)]

    def open_night(self) -> None:
        """Let waiting jobs run while the window is open."""
        window = window_at(self.night, self.clock.now(), self.time_zone)
        if window is None:
            return
        count = self.jobs.release(window, self.night.quotas)
        if count:
            logger.info("night jobs released", count=count)

    def close_night(self) -> None:
        """Take back what nobody has begun while the window is closed."""
        if window_at(self.night, self.clock.now(), self.time_zone) is not None:
            return
        count = self.jobs.withdraw()
        if count:
            logger.info("night jobs wait again", count=count)
