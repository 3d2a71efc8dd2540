"""The night as a worker sees it: until when its window is open, and how long a job of the night takes here."""

from __future__ import annotations

from datetime import timedelta

from oculard.clock import Clock
from oculard.night import Hours, open_until
from oculard.settings_night import Night
from oculard.store.night_jobs import NightJobs

MEASURE_EVERY = timedelta(minutes=1)


class Opening:
    """Asks the clock at every step, and the reports at most once a minute."""

    def __init__(self, night: Night, time_zone: str, jobs: NightJobs, clock: Clock) -> None:
        self._night, self._time_zone, self._jobs, self._clock = night, time_zone, jobs, clock
        self._measured_at = clock.now() - MEASURE_EVERY
        self._expected_s: dict[str, float] = {}

    def hours(self) -> Hours:
        """What a claim must know of the night."""
        now = self._clock.now()
        until = open_until(self._night, now, self._time_zone)
        if until is not None and abs(now - self._measured_at) >= MEASURE_EVERY:
            self._expected_s = {name: speed.p90_s for name, speed in self._jobs.speeds().items()}
            self._measured_at = now
        return Hours(until=until, expected_s=self._expected_s, first_s=self._night.job_s_first)
