"""C-FIND, Study Root: which studies an archive has, and how many instances in each series (PS3.4 C.4.1, C.6.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from oculard.dimse import UNREADABLE
from oculard.retrieve.archive import (
    INSTANCES_MAX,
    ArchiveBusy,
    ArchiveRefused,
    Days,
    Found,
    StudyFailed,
    TooManyMatches,
    believed,
    is_uid,
    parse_count,
)
from oculard.retrieve.association import PENDING, ArchiveAssociation, Caller, Line

FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root, C-FIND
FIND_CONTEXTS = (build_context(FIND, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]),)
SUCCESS, CANCELLED, NO_RESOURCES = 0x0000, 0xFE00, 0xA700  # PS3.4 table C.4-1
STUDIES_TIMES, SERIES_TIMES = 20, 2  # a question as a whole may take so many times as long as one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """Questions to one archive, each on an association of its own."""

    line: Line
    caller: Caller
    matches_max: int
    remarks: Counter[str]

    def studies(self, days: Days, modalities: Sequence[str]) -> list[Found]:
        """As `Archive.find_studies`."""
        with self._call(STUDIES_TIMES) as association:
            found = [
                self._study(match, days) for match in self._matches(association, _study_query(days), self.matches_max)
            ]
            told = {one.study_instance_uid: one for one in found if one is not None}
            if len(told) < sum(one is not None for one in found):
                self.remarks["match-doubled"] += 1
            return [one for one in told.values() if self._wanted(association, one, frozenset(modalities))]

    def series(self, study_instance_uid: str) -> dict[str, int]:
        """As `Archive.count_series`."""
        with self._call(SERIES_TIMES) as association:
            counts: dict[str, int | None] = {}
            for match in self._matches(association, _series_query(study_instance_uid), INSTANCES_MAX):
                uid = self._uid(match, "SeriesInstanceUID", StudyInstanceUID=study_instance_uid)
                if uid:
                    counts[uid] = self._count(match)
            return {
                uid: self._count_images(association, study_instance_uid, uid) if count is None else count
                for uid, count in counts.items()
            }

    def _call(self, times: int) -> ArchiveAssociation:
        return ArchiveAssociation(self.line, self.caller, FIND_CONTEXTS, within_s=times * self.line.answer_s)

    def _wanted(self, association: ArchiveAssociation, one: Found, modalities: frozenset[str]) -> bool:
        """Whether the study has one of the modalities; where the answer does not say, its series are asked."""
        if not modalities:
            return True
        has = set(one.modalities)
        if not has:
            query = _series_query(one.study_instance_uid)
            has = {_text(match, "Modality") for match in self._matches(association, query, INSTANCES_MAX)}
        return bool(has & modalities)

    def _count_images(self, association: ArchiveAssociation, study_uid: str, series_uid: str) -> int:
        """The instances of a series, one by one: some archives do not know how many there are."""
        query = _image_query(study_uid, series_uid)
        uids = {
            self._uid(match, "SOPInstanceUID", SeriesInstanceUID=series_uid, StudyInstanceUID=study_uid)
            for match in self._matches(association, query, INSTANCES_MAX)
        }
        return len(uids - {None})

    def _matches(self, association: ArchiveAssociation, query: Dataset, most: int) -> Iterator[Dataset]:
        """The matches, one by one. Raises TooManyMatches, after the archive has been told to stop."""
        count = 0
        for status, match in association.find(query, FIND):
            if status.Status in PENDING:
                count += 1
                if count > most:
                    association.cancel()
                    raise TooManyMatches(f"archive `{self.line.name}` has more than {most} matches")
                if match is None:
                    self.remarks["match-unreadable"] += 1
                    continue
                yield match
            elif status.Status == NO_RESOURCES:
                raise ArchiveBusy(f"archive `{self.line.name}` is out of resources")
            elif status.Status == CANCELLED:
                raise StudyFailed(f"archive `{self.line.name}` cancelled our query")
            elif status.Status != SUCCESS:
                raise ArchiveRefused(f"archive `{self.line.name}` answered a query with 0x{status.Status:04X}")

    def _study(self, match: Dataset, days: Days) -> Found | None:
        uid, day = self._uid(match, "StudyInstanceUID"), _text(match, "StudyDate")
        if not uid:
            return None
        if not days.holds(day):
            self.remarks["match-of-another-day"] += 1
            return None
        return Found(study_instance_uid=uid, study_date=day, modalities=believed(_modalities(match), self.remarks))

    def _uid(self, match: Dataset, keyword: str, **parents: str) -> str | None:
        """A match's UID; None, and a remark, where it is no UID or not of what was asked for."""
        uid = _text(match, keyword)
        if not is_uid(uid):
            self.remarks["match-without-uid"] += 1
            return None
        if any(_text(match, parent) not in ("", asked) for parent, asked in parents.items()):
            self.remarks["match-of-another-study"] += 1
            return None
        return uid

    def _count(self, match: Dataset) -> int | None:
        """What it says of the number of instances; None where it says nothing that can be believed."""
        text = _text(match, "NumberOfSeriesRelatedInstances")
        count = parse_count(text)
        if text and count is None:
            self.remarks["count-not-believed"] += 1
        return count


def _study_query(days: Days) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyDate = str(days)
    if days.times:
        query.StudyTime = days.times
    query.StudyInstanceUID = query.ModalitiesInStudy = ""
    return query


def _series_query(study_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = query.Modality = query.NumberOfSeriesRelatedInstances = ""
    return query


def _image_query(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = study_instance_uid, series_instance_uid
    query.SOPInstanceUID = ""
    return query


def _text(match: Dataset, keyword: str) -> str:
    """An element's value as text; "" where it is not there, or cannot be read."""
    try:
        value = match.get(keyword)
    except UNREADABLE:
        return ""
    return "" if value is None else str(value).strip(" \0")


def _modalities(match: Dataset) -> list[str]:
    try:
        value = match.get("ModalitiesInStudy") or ()
        many = [value] if isinstance(value, str) else list(value)
    except UNREADABLE:
        return []
    return [str(text).strip() for text in many]
