"""QIDO-RS and WADO-RS: the same questions over HTTP (PS3.18 10.6, 10.4), for archives that speak it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from oculard import log
from oculard.errors import Permanent, Rejected
from oculard.retrieve.archive import (
    INSTANCES_MAX,
    ArchiveAway,
    Days,
    Found,
    Retrieved,
    StudyFailed,
    Take,
    TooManyMatches,
    believed,
    is_uid,
    parse_count,
)
from oculard.retrieve.multipart import BadMultipart, Parts, boundary_of
from oculard.retrieve.web import Gone, Web
from oculard.store.spool import Spool, Spooler
from oculard.store.vault import VaultUnreadable

PAGE = 200  # matches of one answer
STUDIES_TIMES, SERIES_TIMES = 20, 2  # a question as a whole may take so many times as long as one answer
STUDY_UID, STUDY_DATE, MODALITIES = "0020000D", "00080020", "00080061"
SERIES_UID, INSTANCES, MODALITY, SOP_UID = "0020000E", "00201209", "00080060", "00080018"
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # PS3.18 8.7.3.5.2
SOME_REFUSED = "instances-refused"
logger = log.get("retrieve")
Match = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class DicomWeb:
    """An archive behind a DICOMweb root; as `Archive` says."""

    web: Web
    spooler: Spooler
    answer_s: float
    study_s: float
    matches_max: int
    study_bytes_max: int
    remarks: Counter[str] = field(default_factory=Counter)

    def find_studies(self, days: Days, modalities: Sequence[str]) -> list[Found]:
        """As `Archive.find_studies`: each modality is a question of its own (PS3.18 8.3.4.1)."""
        found: dict[str, Found] = {}
        ends_at = monotonic() + STUDIES_TIMES * self.answer_s
        for modality in modalities or ("",):
            asked = {"StudyDate": str(days), "includefield": MODALITIES}
            asked |= {"StudyTime": days.times} if days.times else {}
            asked |= {"ModalitiesInStudy": modality} if modality else {}
            try:
                for match in self._pages("/studies", asked, self.matches_max - len(found), ends_at):
                    one = self._study(match, days)
                    if one is not None and (not modality or self._has(one, modality, ends_at)):
                        found[one.study_instance_uid] = one
            except Gone as why:  # a proxy whose service is away says so too, or there never was one
                raise ArchiveAway(f"archive `{self.web.name}` has no /studies below its url") from why
        return list(found.values())

    def count_series(self, study_instance_uid: str) -> dict[str, int]:
        """As `Archive.count_series`."""
        ends_at = monotonic() + SERIES_TIMES * self.answer_s
        root, counts = f"/studies/{study_instance_uid}/series", dict[str, int]()
        try:
            for match in self._pages(root, {"includefield": INSTANCES}, INSTANCES_MAX, ends_at):
                uid = self._uid(match, SERIES_UID, {STUDY_UID: study_instance_uid})
                if uid:
                    count = self._count(match)
                    counts[uid] = self._count_images(root, uid, ends_at) if count is None else count
        except Gone:
            return {}
        return counts

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`: the whole study in one answer, each part a file of its own."""
        name, taken = self.web.name, _Taken(take, self.remarks)
        ends_at = monotonic() + self.study_s
        with self.web.answer(
            f"/studies/{study_instance_uid}", {}, AS_STORED, answer_s=self.study_s, ends_at=ends_at
        ) as answer:
            boundary = boundary_of(answer.headers.get("content-type", ""))
            if boundary is None:
                raise StudyFailed(f"archive `{name}` did not answer with application/dicom parts")
            parts = Parts(boundary, self.spooler, taken, bytes_max=self.study_bytes_max)
            try:
                for chunk in answer.iter_bytes():
                    parts.feed(chunk)
                parts.end()
            except BadMultipart as why:
                raise StudyFailed(f"archive `{name}`: {why}") from why
            finally:
                parts.discard()
        return Retrieved(completed=taken.count, failed=taken.refused, reason=SOME_REFUSED if taken.refused else None)

    def close(self) -> None:
        """As `Archive.close`."""
        self.web.close()

    def _has(self, one: Found, modality: str, ends_at: float) -> bool:
        """Whether a study has a modality; where the answer does not say, its series are asked."""
        if one.modalities:
            return modality in one.modalities
        matches = self._pages(f"/studies/{one.study_instance_uid}/series", {}, INSTANCES_MAX, ends_at)
        try:
            return any(_text(match, MODALITY) == modality for match in matches)
        except Gone:
            return False  # it has vanished since it was found

    def _count_images(self, root: str, series_uid: str, ends_at: float) -> int:
        matches = self._pages(f"{root}/{series_uid}/instances", {}, INSTANCES_MAX, ends_at)
        return len({self._uid(match, SOP_UID, {SERIES_UID: series_uid}) for match in matches} - {None})

    def _pages(self, path: str, asked: dict[str, str], most: int, ends_at: float) -> Iterator[Match]:
        """Every match of a question, page by page until one is empty: an archive may give fewer than we ask for.

        Raises TooManyMatches.
        """
        seen, last = 0, b""
        while True:
            page, digest = self.web.page(path, asked | {"limit": str(PAGE), "offset": str(seen)}, ends_at)
            if not page or digest == last:  # an archive that ignores the offset would go on for ever
                return
            seen, last = seen + len(page), digest
            if seen > most:
                raise TooManyMatches(f"archive `{self.web.name}` has more than {most} matches")
            for match in page:
                if isinstance(match, dict):
                    yield match
                else:
                    self.remarks["match-unreadable"] += 1

    def _study(self, match: Match, days: Days) -> Found | None:
        uid, day = self._uid(match, STUDY_UID, {}), _text(match, STUDY_DATE)
        if uid is None:
            return None
        if not days.holds(day):
            self.remarks["match-of-another-day"] += 1
            return None
        modalities = believed(_texts(match, MODALITIES), self.remarks)
        return Found(study_instance_uid=uid, study_date=day, modalities=modalities)

    def _uid(self, match: Match, tag: str, parents: dict[str, str]) -> str | None:
        """A match's UID; None, and a remark, where it is no UID or not of what was asked for."""
        uid = _text(match, tag)
        if not is_uid(uid):
            self.remarks["match-without-uid"] += 1
            return None
        if any(_text(match, parent) not in ("", asked) for parent, asked in parents.items()):
            self.remarks["match-of-another-study"] += 1
            return None
        return uid

    def _count(self, match: Match) -> int | None:
        text = _text(match, INSTANCES)
        count = parse_count(text)
        if text and count is None:
            self.remarks["count-not-believed"] += 1
        return count


class _Taken:
    """Hands what came to custody, and counts."""

    def __init__(self, take: Take, remarks: Counter[str]) -> None:
        self._take, self._remarks = take, remarks
        self.count = self.refused = 0

    def __call__(self, spool: Spool) -> None:
        try:
            spool.finish()
            self._take(spool.path)
        except (Rejected, Permanent) as why:
            self.refused += 1
            self._remarks[why.reason] += 1
            logger.warning("instance refused", reason=why.reason, hint=why.hint)
        except OSError as why:
            raise VaultUnreadable("cannot read what was spooled") from why
        else:
            self.count += 1


def _texts(match: Match, tag: str) -> list[str]:
    """An attribute's values as text (PS3.18 F.2); [] where it is not there, or something else."""
    attribute = match.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [str(value) for value in values if isinstance(value, str | int)] if isinstance(values, list) else []


def _text(match: Match, tag: str) -> str:
    return next(iter(_texts(match, tag)), "")
