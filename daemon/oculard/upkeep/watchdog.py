"""The watchdog: looks at how the work goes, and lets alarms stand exactly while their cause does.

Each look compares what is with what stands. A condition that stands ends only when its cause is clearly over, so that
nothing flaps around a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from oculard import log
from oculard.clock import Clock
from oculard.settings_night import Limits
from oculard.store.alarms import Alarms, fit
from oculard.store.health import Health
from oculard.tls import Files, TlsUnusable, check
from oculard.upkeep.certificates import Unreadable, ends_at
from oculard.upkeep.clockwork import Chore

CALM = 0.75  # of its threshold: below that a condition that stood is over
CLOCK_STANDS = timedelta(hours=1)  # at least: what a wrong clock did is seen now and then only
DAY = timedelta(days=1)
logger = log.get("upkeep")


@dataclass(slots=True, kw_only=True)
class Steady:
    """A clock that nobody sets, beside ours: it tells when ours was set."""

    seconds: Callable[[], float]
    seen: tuple[datetime, float] | None = None

    def set_s(self, now: datetime) -> float:
        """How far our clock was set since the last look, forward or back."""
        then, self.seen = self.seen, (now, self.seconds())
        if then is None:
            return 0.0
        return abs((now - then[0]).total_seconds() - (self.seen[1] - then[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """The conditions of [alarms]; each look is safe to do at any time and any number of times."""

    limits: Limits
    certificates: Collection[Path] = ()
    tls: Collection[Files] = ()
    peers: Collection[str]
    health: Health
    alarms: Alarms
    days_left: Callable[[], float | None]  # until the disk reaches its mark; None: unknown, or years
    steady: Steady
    clock: Clock

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [
            Chore(do=self.watch_peers, every_s=60),
            Chore(do=self.watch_queue, every_s=60),
            Chore(do=self.watch_failures, every_s=300),
            Chore(do=self.watch_forecast, every_s=600),
            Chore(do=self.watch_clock, every_s=60),
            Chore(do=self.watch_certificates, every_s=600),
        ]

    def watch_peers(self) -> None:
        """A peer that takes nothing while reports wait for it."""
        since = self.clock.now() - timedelta(hours=self.limits.pacs_silent_h)
        self._stand("pacs-silent", {peer for peer in self.peers if self.health.is_silent(peer, since=since)})

    def watch_queue(self) -> None:
        """A family whose jobs wait too long."""
        now, hours = self.clock.now(), self.limits.queue_h
        old = self.health.old_families(since=now - timedelta(hours=hours))
        still = self.health.old_families(since=now - timedelta(hours=CALM * hours))
        self._stand("queue-old", old | (still & self.alarms.subjects("queue-old")))

    def watch_failures(self) -> None:
        """Too many of the last day's jobs failed."""
        ended = self.health.ended(since=self.clock.now() - DAY)
        scale = CALM if self.alarms.subjects("failures-high") else 1.0
        many = ended.failed >= scale * self.limits.failures_least
        often = 100 * ended.failed >= scale * self.limits.failures_percent * ended.jobs
        self._stand("failures-high", {"jobs"} if ended.failed and many and often else set())

    def watch_forecast(self) -> None:
        """The disk reaches its mark too soon."""
        days, limit = self.days_left(), self.limits.disk_days
        limit = limit / CALM if self.alarms.subjects("disk-soon-full") else limit
        self._stand("disk-soon-full", {"disk"} if days is not None and days <= limit else set())

    def watch_clock(self) -> None:
        """A clock that was set, that differs from the database's, or that events are ahead of."""
        now, limit, since = self.clock.now(), self.limits.clock_skew_s, self.alarms.since("clock-skew")
        off_s = {
            "database": abs(self.health.database_ahead_s()),
            "events": self.health.events_ahead_s(),
            "jump": self.steady.set_s(now),
        }
        wrong = {what for what in off_s if off_s[what] > limit * (CALM if what in since else 1)}
        fresh = {what for what, at in since.items() if abs(now - at) < CLOCK_STANDS}
        self._stand("clock-skew", wrong | fresh)

    def watch_certificates(self) -> None:
        """Certificates that end soon, files that hold none, and keys that do not fit."""
        ending, unreadable = set[str](), set[str]()
        last = self.clock.now() + timedelta(days=self.limits.certificate_days)
        for path in self.certificates:
            try:
                if ends_at(path) <= last:
                    ending.add(str(path))
            except Unreadable as why:
                logger.warning("certificate not readable", name=path.name, reason=why.reason, why=str(why))
                unreadable.add(str(path))
        for files in self.tls:
            try:
                check(files)
            except TlsUnusable as why:
                logger.warning("certificate not readable", name=files.all[0].name, reason=why.reason, why=str(why))
                unreadable.add(str(files.all[0]))
        # What cannot be read now may end as soon as it did when it could.
        unknown = {path for path in unreadable if fit(path) in self.alarms.subjects("certificate-ending")}
        self._stand("certificate-ending", ending | unknown)
        self._stand("certificate-unreadable", unreadable)

    def _stand(self, name: str, subjects: Collection[str]) -> None:
        raised, cleared = self.alarms.only(name, subjects)
        for subject in raised:
            logger.error("alarm raised", name=name, why=subject)
        for subject in cleared:
            logger.info("alarm cleared", name=name, why=subject)
