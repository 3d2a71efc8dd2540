"""How much an archive is asked: a pace that is never exceeded, a rest when it does not answer, and who is told."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta

from oculard import log
from oculard.clock import Clock
from oculard.errors import OculardError
from oculard.job import backoff_s
from oculard.retrieve.archive import ArchiveBusy, ArchiveRefused
from oculard.store.alarms import Alarms
from oculard.store.backfills import Backfills

REST_S_MAX = 300.0
SILENT_S = 900.0  # of trouble without an end, before somebody is called
ALARM = "archive-silent"
logger = log.get("retrieve")


class Pace:
    """At most so many studies a minute, by all threads together, evenly: no burst makes up for a pause."""

    def __init__(self, per_min: float) -> None:
        self._interval = timedelta(minutes=1 / per_min)
        self._lock = threading.Lock()
        self._next_at: datetime | None = None

    def take(self, now: datetime) -> datetime | None:
        """The right to fetch one study now; None when it is too soon."""
        with self._lock:
            if self._next_at is not None and now < self._next_at:
                return None
            self._next_at = now + self._interval
            return self._next_at

    def give_back(self, right: datetime) -> None:
        """It was not used: the study was here already."""
        with self._lock:
            if self._next_at == right:
                self._next_at = None


class Rest:
    """An archive that does not answer is left alone for a while, longer each time; after long an alarm stands."""

    def __init__(self, name: str, alarms: Alarms) -> None:
        self._name, self._alarms = name, alarms
        self._lock = threading.Lock()
        self._failures = 0
        self._since: datetime | None = None
        self._until: datetime | None = None
        self._sends = True  # as far as we know; that it answers our questions does not prove it
        self._may_stand = True  # an alarm of an earlier process

    def is_over(self, now: datetime) -> bool:
        """Whether it may be asked."""
        with self._lock:
            return self._until is None or now >= self._until

    @property
    def was_well(self) -> bool:
        """Whether it has answered since its last trouble, so that what fails now may be the question's fault."""
        return self._failures == 0

    @property
    def is_calm(self) -> bool:
        """Whether there is nothing to clear."""
        return self._failures == 0 and not self._may_stand

    def trouble(self, now: datetime, why: OculardError, *, sends: bool = False) -> None:
        """It does not answer, or refuses us; `sends`: when it was to send."""
        with self._lock:
            if self._until is not None and now < self._until:
                return  # another thread has met the same trouble
            self._failures += 1
            self._sends &= not sends
            self._since = self._since or now
            delay_s = backoff_s(self._failures, longest_s=REST_S_MAX)
            if isinstance(why, ArchiveBusy):
                delay_s = max(delay_s, why.after_s)
            self._until = now + timedelta(seconds=delay_s)
            alarming = isinstance(why, ArchiveRefused) or now - self._since >= timedelta(seconds=SILENT_S)
            self._may_stand |= alarming
        logger.warning("archive rests", name=self._name, reason=why.reason, hint=why.hint, delay_s=delay_s)
        if alarming:
            self._alarms.raise_(ALARM, self._name)

    def well(self, *, sends: bool) -> bool:
        """It answered; `sends`: it sent, too. An answer alone does not end the trouble of one that does not send."""
        with self._lock:
            if not (self._sends or sends):
                return False
            self._failures, self._since, self._until, self._sends = 0, None, None, True
            clear, self._may_stand = self._may_stand, False
        if clear and self._alarms.clear(ALARM, self._name):
            logger.info("archive answers again", name=self._name)
        return True


class Standing:
    """How we stand with an archive, and what its orders are told about it."""

    def __init__(self, name: str, rest: Rest, backfills: Backfills, clock: Clock) -> None:
        self._name, self.rest, self._backfills, self._clock = name, rest, backfills, clock

    def trouble(self, why: OculardError, *, sends: bool = False) -> None:
        """It does not answer, or refuses us: it rests, and its orders say why."""
        self.rest.trouble(self._clock.now(), why, sends=sends)
        self._backfills.note(self._name, why.reason)

    def well(self, *, sends: bool) -> None:
        """It answered; `sends`: it sent, too."""
        if self.rest.well(sends=sends):
            self._backfills.note(self._name, None)

    def forget(self) -> None:
        """Nobody wants anything from it: whatever the trouble was, it is none."""
        if not self.rest.is_calm:
            self.rest.well(sends=True)

    def remark(self, backfill_id: int, remarks: Counter[str]) -> None:
        """Keep what it did wrong with the order that it was asked for."""
        self._backfills.remark(backfill_id, remarks)
        remarks.clear()
