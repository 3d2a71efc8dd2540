"""One day of an archive: its studies, though it has more than can be asked for at once, or answers for a part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

from oculard import log
from oculard.errors import OculardError
from oculard.retrieve.archive import Archive, Days, Found, TooManyMatches
from oculard.store.backfills import NOT_ANSWERED

FAILURES_MAX = 7  # of one day: as a whole, once more, then of 12, 6, 3, 2 hours and one
logger = log.get("retrieve")


class AskedDay:
    """A day while it is asked for, part by part. What cannot be had is a remark, and in the log."""

    def __init__(self, day: date, remarks: Counter[str]) -> None:
        self.day, self._remarks = day, remarks
        self._parts, self._failures, self._has_gap = [Days(first=day, last=day)], 0, False
        self.found = dict[str, Found]()
        self.is_suspect = False  # it was asked for, and not answered

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to ask for."""
        return not self._parts

    def ask(self, archive: Archive, modalities: Sequence[str]) -> None:
        """Ask for the next part; one with too many matches becomes two. Raises whatever else the archive does."""
        self.is_suspect, part = True, self._parts[0]
        try:
            studies = archive.find_studies(part, modalities)
        except TooManyMatches as why:
            self._replace(part.halves())
            if not part.halves():
                self._remarks[why.reason] += 1
                logger.error("hour not asked for", reason=why.reason, hint=why.hint, why=f"{part} {part.times}")
        else:
            self.found |= {one.study_instance_uid: one for one in studies}
            self._replace(())
        self.is_suspect = False

    def fail(self, why: OculardError) -> None:
        """The archive answers, but not for this part: it is asked for again, then in halves, and left out at last."""
        self._failures += 1
        if self._failures == 1:
            return  # it may have been chance
        part = self._parts[0]
        halves = part.halves() if self._failures < FAILURES_MAX else ()
        self._replace(halves)
        if not halves:
            self._remarks[NOT_ANSWERED] += not self._has_gap
            self._has_gap = True
            logger.error("part of a day left out", reason=NOT_ANSWERED, why=f"{part} {part.times} {why.reason}")

    def _replace(self, parts: Sequence[Days]) -> None:
        """Put smaller parts in the place of the next one, or nothing."""
        if parts and not self._parts[0].times:
            self._remarks["day-in-parts"] += 1  # a study without a time is not found by them
        self._parts[:1] = parts


def find_day(archive: Archive, day: date, modalities: Sequence[str]) -> list[Found]:
    """A day's studies at once. Raises whatever the archive does."""
    asked = AskedDay(day, archive.remarks)
    while not asked.is_over:
        asked.ask(archive, modalities)
    return list(asked.found.values())
