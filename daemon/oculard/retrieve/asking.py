"""The days of back-fills, asked for part by part: one that is not answered for is told from an archive that is away."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from oculard import log
from oculard.errors import OculardError
from oculard.retrieve.archive import (
    Archive,
    ArchiveAway,
    ArchiveBusy,
    ArchiveRefused,
    Days,
    StudyFailed,
    TooManyMatches,
)
from oculard.retrieve.day import AskedDay
from oculard.retrieve.restraint import Standing
from oculard.store.backfills import Backfill, Backfills

LONG_AGO = Days(first=date(1900, 1, 2), last=date(1900, 1, 2))  # no archive has studies of that day
LOOK = timedelta(seconds=5)  # how soon it is seen that an order has ended
logger = log.get("retrieve")


class Asking:
    """Asks one archive for the days of its orders, and ends those that are through.

    When an archive did not answer for a day, it is first asked for one that has no studies. What fails after that is
    the day's own fault, and does not hold up the others for ever.
    """

    def __init__(self, name: str, archive: Archive, backfills: Backfills, standing: Standing) -> None:
        self._name, self._archive, self._backfills, self._standing = name, archive, backfills, standing
        self._days: dict[int, AskedDay] = {}  # of each order, the one that is being asked for
        self._had_turn = 0  # the order that was asked for last
        self._answers = False  # it has answered our last question for a day
        self._look_at: datetime | None = None

    def end_orders(self, now: datetime) -> None:
        """Every few seconds, end the orders that have nothing left to do."""
        if self._look_at is not None and now < self._look_at:
            return
        self._look_at = now + LOOK
        self._backfills.finish(self._name)
        if not self._backfills.has_active(self._name):
            self._days.clear()
            self._standing.forget()

    def step(self, anytime_only: bool) -> bool:
        """Ask for one part of one day; say whether there was one."""
        backfill = self._backfills.next_to_find(self._name, anytime_only=anytime_only, after=self._had_turn)
        if backfill is None:
            return False
        self._had_turn = backfill.id
        asked = self._asked(backfill)
        try:
            if asked.is_suspect and not self._answers:
                self._see_alive()
            else:
                asked.ask(self._archive, backfill.range.modalities)
        except (ArchiveAway, ArchiveRefused, StudyFailed) as why:
            self._fail(asked, why)
        else:
            self._answers = True
            self._standing.well(sends=False)
        if asked.is_over:
            studies = [(one.study_instance_uid, one.study_date) for one in asked.found.values()]
            self._backfills.found(backfill, asked.day, studies)
            del self._days[backfill.id]
        self._standing.remark(backfill.id, self._archive.remarks)
        return True

    def _asked(self, backfill: Backfill) -> AskedDay:
        day, asked = backfill.next_day, self._days.get(backfill.id)
        assert day is not None, "it would not be finding"
        if asked is None or asked.day != day:
            asked = self._days[backfill.id] = AskedDay(day, self._archive.remarks)
        return asked

    def _see_alive(self) -> None:
        """See that the archive answers anything. Raises what it does where it does not."""
        try:
            self._archive.find_studies(LONG_AGO, ())
        except TooManyMatches:
            """It has answered."""

    def _fail(self, asked: AskedDay, why: OculardError) -> None:
        """It is the day's fault where the archive has just answered for another one, and the archive's otherwise."""
        if self._answers:
            logger.warning("day not answered for", reason=why.reason, hint=why.hint, why=str(asked.day))
            asked.fail(why)
        if not self._answers or isinstance(why, ArchiveBusy):
            self._standing.trouble(why)
        self._answers = False
