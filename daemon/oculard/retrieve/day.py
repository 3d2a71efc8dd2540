"""One day of an archive: its studies, though there may be more than can be asked for at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from oculard import log
from oculard.retrieve.archive import Archive, Days, Found, TooManyMatches

logger = log.get("retrieve")


def find_day(archive: Archive, day: date, modalities: Sequence[str]) -> list[Found]:
    """A day's studies; a day with too many matches is asked for in parts, down to hours.

    What cannot be had is a remark of the archive's, and in the log.
    """
    parts, found = [Days(first=day, last=day)], dict[str, Found]()
    while parts:
        part = parts.pop(0)
        try:
            found |= {one.study_instance_uid: one for one in archive.find_studies(part, modalities)}
        except TooManyMatches as why:
            halves = part.halves()
            parts = [*halves, *parts]
            if not part.times:
                archive.remarks["day-in-parts"] += 1  # a study without a time is not found by them
            if not halves:
                archive.remarks[why.reason] += 1
                logger.error("hour not asked for", reason=why.reason, hint=why.hint, why=f"{part} {part.times}")
    return list(found.values())
